"""What runs next to one another show: lines with a cell for each run, those that differ marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from experiments.analysis.comparison import EXACT, Comparison
from experiments.names import AXES, CASE, HOME_ENGINE
from experiments.results.timings import LEAST_SECONDS
from experiments.text import counted
from profiler.units import human_bytes, human_count, human_ns

MOST_POINTS = 200
"""How many points that differ are shown; all of them are in the CSV."""


@dataclass(frozen=True)
class Cell:
    """What a run has for a line: its text, whether it differs from the first's, and a remark."""

    text: str
    differs: bool = False
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a table: what it is of, and a cell for each run."""

    words: str
    cells: tuple[Cell, ...]

    @property
    def differs(self) -> bool:
        """Whether any run differs from the first."""
        return any(cell.differs for cell in self.cells)


@dataclass(frozen=True)
class Columns:
    """A comparison of runs of either kind: verdict, remarks, numbers, times, points that differ.

    `table` is for the CSV, and `more` counts the points that differ and are only there.
    """

    tone: str
    verdict: str
    remarks: Sequence[str]
    numbers: Sequence[Line]
    table: pd.DataFrame
    times: Sequence[Line] = ()
    points: Sequence[Line] = ()
    more: int = 0


def line_of(words: str, values: Sequence[Any], shown: Callable[[Any], str] = str) -> Line:
    """Return a line with a cell for each value; None is a dash, other than the first is marked."""
    first = next((value for value in values if value is not None), None)
    return Line(
        words,
        tuple(
            Cell("–") if value is None else Cell(shown(value), value != first) for value in values
        ),
    )


def lines_of(runs: Sequence[dict[str, str]]) -> list[Line]:
    """Return a line for each name that a run has, with what each run has for it."""
    names = dict.fromkeys(name for run in runs for name in run)
    return [line_of(name, [run.get(name) for run in runs]) for name in names]


def columns_of_sweeps(comparison: Comparison) -> Columns:
    """Return what a comparison of sweeps shows."""
    differing = comparison.differing
    shown = differing.head(MOST_POINTS).to_dict("records")
    remarks = [
        f"Only in {number}: {counted(count, 'point')}."
        for number, count in enumerate(comparison.single, 1)
        if count
    ]
    remarks += [
        f"Points are matched without {name.replace('_', ' ')}, in which the sweeps differ as a "
        f"whole: {', '.join(values)}."
        for name, values in comparison.factors.items()
    ]
    is_open = comparison.table.empty or bool(comparison.factors)
    return Columns(
        tone="open" if is_open else "bad" if len(differing) else "good",
        verdict=comparison.verdict,
        remarks=[*remarks, *_short(comparison), *filter(None, [comparison.times])],
        numbers=[
            line for words, rows in _by_mode(comparison) for line in _exact(words, rows, comparison)
        ],
        times=[
            line for words, rows in _by_mode(comparison) for line in _timed(words, rows, comparison)
        ],
        points=[line for row in shown for line in _point(row, len(comparison.names))],
        table=comparison.table.assign(differs=comparison.table.index.isin(differing.index)),
        more=len(differing) - len(shown),
    )


def _by_mode(comparison: Comparison) -> Iterator[tuple[str, pd.Index[Any]]]:
    """Return the points that all sweeps have, by engine, mode and planner, with words for each."""
    by = [name for name in ("engine", "mode", "planner") if name not in comparison.factors]
    common = comparison.common
    for labels, rows in common.groupby(by, sort=False) if by else [((), common)]:
        if len(rows):
            yield _mode_words(dict(zip(by, labels, strict=True))), rows.index


def _exact(words: str, points: pd.Index[Any], comparison: Comparison) -> Iterator[Line]:
    """Return the operations and the highest peak of points."""
    for quantity, name, whole, shown in (
        ("ops", "operations in all", "sum", human_count),
        ("peak_bytes", "highest peak", "max", human_bytes),
    ):
        values = [column[points] for column in comparison.of(quantity)]
        label = f"{words}, {counted(len(points), 'point')}: {name}"
        line = line_of(label, [getattr(one, whole)() for one in values], shown)
        cells = zip(line.cells, values, strict=True)
        yield Line(label, tuple(_against(cell, one, values[0]) for cell, one in cells))


def _against(cell: Cell, values: pd.Series[Any], first: pd.Series[Any]) -> Cell:
    """Return a cell that says in how many points a run differs from the first, and by how much."""
    distance = (values - first).dropna()
    differ = int((distance != 0).sum())
    note = f"differs in {differ:,}, by up to {int(distance.abs().max()):,}" if differ else ""
    return replace(cell, differs=differ > 0, note=note)


def _timed(words: str, points: pd.Index[Any], comparison: Comparison) -> Iterator[Line]:
    """Return the times of the points that every sweep timed and that take long enough.

    The remark of a run is the median and the quartiles of its ratio to the first.
    """
    seconds = pd.concat([one[points].astype(float) for one in comparison.of("seconds")], axis=1)
    seconds = seconds[(seconds >= LEAST_SECONDS).all(axis=1)]
    if seconds.empty:
        return
    cells = []
    for place in range(seconds.shape[1]):
        ratio = seconds.iloc[:, place] / seconds.iloc[:, 0]
        low, middle, high = ratio.quantile([0.25, 0.5, 0.75])
        note = f"×{middle:.2f} ({low:.2f} … {high:.2f})" if place else ""
        cells.append(Cell(human_ns(float(seconds.iloc[:, place].sum()) * 1e9), False, note))
    yield Line(f"{words}, {counted(len(seconds), 'step')}", tuple(cells))


def _short(comparison: Comparison) -> list[str]:
    """Return why there are no times, where steps were timed and none takes long enough."""
    seconds = pd.concat([column.astype(float) for column in comparison.of("seconds")], axis=1)
    longest = seconds.dropna().min(axis=1).max()
    if not longest < LEAST_SECONDS:
        return []
    return [
        f"No times: the longest step takes {longest * 1e3:.2g} ms, and below "
        f"{LEAST_SECONDS * 1e3:.0f} ms the cost of calling hides the rest."
    ]


def _mode_words(labels: dict[str, str]) -> str:
    """Return what a group of points is called."""
    engine, mode, planner = (labels.get(name, "") for name in ("engine", "mode", "planner"))
    parts = (
        engine if engine != HOME_ENGINE else "",
        mode,
        planner if mode in ("", "checkpointed") else "",
    )
    return " ".join(filter(None, parts)) or "all"


def _point(row: dict[str, Any], runs: int) -> Iterator[Line]:
    """Return the lines of a point, one for each quantity in which runs differ."""
    words = [str(row[name]) for name in ("engine", *CASE) if name in row]
    words += [f"{name}={row[name]}" for name in AXES if name in row]
    words += [str(row[name]) for name in ("mode", "wrt", "planner") if row.get(name)]
    if row.get("micro_batches", 1) > 1:
        words.append(f"in {row['micro_batches']} slices")
    for quantity, name in zip(EXACT, ("operations", "peak bytes"), strict=True):
        values = [row[f"{quantity}_{number + 1}"] for number in range(runs)]
        known = [None if pd.isna(value) else value for value in values]
        line = line_of(f"{' '.join(words)}: {name}", known, "{:,}".format)
        if line.differs:
            yield line


def columns_of_modules(runs: Sequence[dict[str, Any]]) -> Columns:
    """Return what a comparison of steps of modules shows, by the numbers of `summary.json`."""
    flat = [dict(_numbers(run)) for run in runs]
    names = dict.fromkeys(name for run in flat for name in run)
    values = {name: [run.get(name) for run in flat] for name in names}
    values = {name: numbers for name, numbers in values.items() if any(numbers)}
    lines = [_number_line(name, numbers) for name, numbers in values.items()]
    table = pd.DataFrame(list(values.values()), columns=list(map(str, range(1, len(runs) + 1))))
    table = table.astype(object).where(table.notna(), "")
    table.insert(0, "quantity", list(values))
    table["differs"] = [line.differs for line in lines]
    differing = sum(line.differs for line in lines)
    verdict = f"{len(runs)} steps: {differing} of {counted(len(lines), 'number')} differ."
    return Columns("open", verdict, (), lines, table)


def _numbers(run: dict[str, Any], before: str = "") -> Iterator[tuple[str, int | str]]:
    """Return every number of a step with its path; a file may hold anything."""
    for name, value in run.items():
        path = f"{before}{name}"
        if isinstance(value, dict):
            yield from _numbers(value, f"{path}.")
        elif isinstance(value, bool):
            yield path, "yes" if value else "no"
        elif isinstance(value, int):
            yield path, value


def _number_line(name: str, values: Sequence[int | str | None]) -> Line:
    """Return a line of exact numbers; bytes and times also as people read them."""
    words = name.replace(".", ", ").replace("_", " ")
    line = line_of(words, values, lambda value: f"{value:,}" if type(value) is int else str(value))
    human = human_bytes if "byte" in name or "peak" in name else human_ns if "_ns" in name else None
    if human is None:
        return line
    cells = zip(line.cells, values, strict=True)
    return Line(
        words,
        tuple(
            replace(cell, note=human(value)) if isinstance(value, int) else cell
            for cell, value in cells
        ),
    )
