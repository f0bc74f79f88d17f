"""Which rows a figure shows, and the theory's curve through them.

A case is one network (name, activation, loss, dtype). A series is what is drawn as one line: a
mode, with its planner where there is a choice, and its engine. A line through the grid along one
axis fixes the other two at a swept value in their middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from experiments import theory
from experiments.analysis.plans import planner_words
from experiments.analysis.selection import completed, source_words
from experiments.analysis.verdict import Agreement
from experiments.figures.style import MODE_LOOKS, MODE_NAMES, MORE_LOOKS, Look
from experiments.names import AXES, CASE, HOME_ENGINE, ITEMSIZES

AXIS_LABELS = {"n": "depth n (layers)", "d": "width d (elements)", "b": "batch b (examples)"}
MOST_PLANNERS = 3


@dataclass(frozen=True)
class Series:
    """One line of a figure."""

    mode: str
    planner: str
    engine: str

    @property
    def label(self) -> str:
        """The series in words."""
        name = MODE_NAMES.get(self.mode, self.mode)
        if self.mode == "checkpointed":
            name = planner_words(self.planner)
        return name if self.engine == HOME_ENGINE else f"{name}, {self.engine}"

    @property
    def look(self) -> Look:
        """The look of the series' mode."""
        return MODE_LOOKS.get(self.mode, MORE_LOOKS[-1])


def points_of(frame: pd.DataFrame, *, micro_batches: bool = False) -> pd.DataFrame:
    """Return the rows with numbers, each point once, a measured row before a predicted one.

    Rows of gradient accumulation are left out unless `micro_batches` asks for them.
    """
    ok = completed(frame).drop_duplicates(
        [*CASE, *AXES, "mode", "wrt", "planner", "engine", "micro_batches"]
    )
    return ok if micro_batches else ok[ok["micro_batches"] == 1]


def main_case(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the case with most rows, of all engines."""
    if frame.empty:
        return frame
    sizes = frame.groupby(list(CASE), sort=False).size()
    chosen = sizes.index[int(sizes.to_numpy().argmax())]
    wanted = pd.Series(dict(zip(CASE, chosen, strict=True)))
    return frame[(frame[list(CASE)] == wanted).all(axis=1)]


def shape_counts(frame: pd.DataFrame, axis: str) -> pd.Series[int]:
    """Return how many values of an axis the most swept pairs of the other two have."""
    others = [other for other in AXES if other != axis]
    counts = frame.groupby(others)[axis].nunique()
    return counts[counts == counts.max()] if len(counts) else counts


def along(
    frame: pd.DataFrame, axis: str, prefer: Callable[[int, int, int], float] | None = None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows of one line through the grid, and the two values that it fixes.

    Of the lines with most values it is the one that `prefer(n, d, b)` rates highest (the moving
    axis is given as its middle value), else the one in the middle of the grid.
    """
    others = [other for other in AXES if other != axis]
    counts = shape_counts(frame, axis)
    middle = {name: math.exp(fmean(map(math.log, frame[name].unique()))) for name in AXES}

    def rating(pair: tuple[int, int]) -> tuple[float, float]:
        at = {axis: middle[axis], **dict(zip(others, pair, strict=True))}
        nearness = -sum(abs(math.log(at[name] / middle[name])) for name in others)
        return (prefer(*(at[name] for name in AXES)) if prefer else 0.0, nearness)  # type: ignore[arg-type]

    best = max(counts.index, key=rating)
    fixed = dict(zip(others, (int(value) for value in best), strict=True))
    chosen = frame
    for name, value in fixed.items():
        chosen = chosen[chosen[name] == value]
    return chosen.sort_values(axis), fixed


def series_of(
    frame: pd.DataFrame, without: Iterable[str] = ("only",)
) -> list[tuple[Series, pd.DataFrame]]:
    """Return the series among the rows, in the order of the modes; of planners the first few."""
    found = []
    order = list(MODE_LOOKS)
    planners = 0
    for (mode, planner, engine), rows in frame.groupby(["mode", "planner", "engine"], sort=False):
        if mode in without:
            continue
        if mode == "checkpointed":
            planners += 1
            if planners > MOST_PLANNERS:
                continue
        found.append((Series(mode, planner, engine), rows))
    rank = {name: index for index, name in enumerate(order)}
    return sorted(
        found, key=lambda pair: (pair[0].engine != HOME_ENGINE, rank.get(pair[0].mode, len(order)))
    )


def theory_value(
    series: Series, case: dict[str, Any], quantity: str, n: int, d: int, b: int, **more: Any
) -> float | None:
    """Return the theory's `ops` or `peak_bytes` of a shape; None without a closed form."""
    if series.mode not in theory.MODES:
        return None
    options = {"activation": case["activation"], "loss": case["loss"], **more}
    if series.engine != HOME_ENGINE:
        if quantity != "peak_bytes" or case["loss"] != "sum" or more:
            return None
        elements = theory.pytorch_peak_elements(
            series.mode, n, d, b, case["activation"], "W_1" if series.mode == "w1_only" else None
        )
        return None if elements is None else float(ITEMSIZES[case["dtype"]] * elements)
    if quantity == "ops":
        return float(theory.total_operations(series.mode, n, d, b, **options))
    return float(ITEMSIZES[case["dtype"]] * theory.peak_elements(series.mode, n, d, b, **options))


def theory_curve(
    series: Series,
    rows: pd.DataFrame,
    axis: str,
    fixed: dict[str, int],
    quantity: str,
    reach: int | None = None,
) -> tuple[list[int], list[float]]:
    """Return the theory along an axis at whole numbers, over the range of the rows or to `reach`.

    Without a closed form it is the theory that the rows themselves carry, if any.
    """
    case = case_of(rows)
    low, high = int(rows[axis].min()), reach or int(rows[axis].max())
    xs = whole_numbers(low, high)
    ys = [theory_value(series, case, quantity, *(fixed.get(name, x) for name in AXES)) for x in xs]
    known = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]
    if not known:
        carried = rows.dropna(subset=[f"theory_{quantity}"])
        known = list(
            zip(carried[axis].astype(int), carried[f"theory_{quantity}"].astype(float), strict=True)
        )
    return [x for x, _ in known], [y for _, y in known]


def whole_numbers(low: int, high: int, most: int = 48) -> list[int]:
    """Return whole numbers from `low` to `high`, evenly spread on a logarithmic axis."""
    ratio = high / low
    return sorted({low, high, *(round(low * ratio ** (step / most)) for step in range(most + 1))})


def case_of(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the case that the rows are of, by name."""
    first = rows.iloc[0]
    return {name: first[name] for name in CASE}


def agreement_of(frame: pd.DataFrame, quantity: str) -> Agreement:
    """Return how many rows equal the theory in `ops` or `peak_bytes`, and how many have none."""
    both = frame[[quantity, f"theory_{quantity}"]].astype(object)
    pairs = both.where(both.notna(), None).itertuples(index=False, name=None)
    return Agreement.of(pairs)


def marks_words(frame: pd.DataFrame, quantity: str) -> str:
    """Return how the marks of a figure got their numbers, and how many equal the theory."""
    return f"marks {source_words(frame)}, lines theory · {on_curves(agreement_of(frame, quantity))}"


def on_curves(found: Agreement) -> str:
    """Return how many marks lie on the theory's curves, and how many have no formula."""
    if not found.compared:
        return "no mark has a formula to compare with"
    only = "" if found.equal == found.compared else "ONLY "
    lacking = f"; {found.without:,} have no formula" if found.without else ""
    return f"{only}{found.share} marks with a formula lie on the theory’s curves{lacking}"


def case_words(rows: pd.DataFrame) -> str:
    """Return the case in words, for a note under a figure."""
    case = case_of(rows)
    return f"{case['network']}, {case['activation']}, loss {case['loss']}, {case['dtype']}"


def fixed_words(fixed: dict[str, int]) -> str:
    """Return the values that are fixed, such as d = 16, b = 16."""
    return ", ".join(f"{name} = {value:,}" for name, value in fixed.items())


def shape_words(row: Any) -> str:
    """Return the shape of a row, such as n = 3, d = 4, b = 6."""
    return fixed_words({name: int(row[name]) for name in AXES})
