"""Which rows a figure shows, and the theory's curve through them.

A case is one network (name, activation, loss, dtype); a series is what is drawn as one line: a mode, with its planner where there is
a choice, and its engine. The slice of a grid along one axis keeps the other two still at a swept value in their middle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments import theory
from experiments.figures.style import MODE_LOOKS, MODE_NAMES, MORE_LOOKS, Look
from experiments.results.tables import Results

AXES = ("n", "d", "b")
CASE = ["network", "activation", "loss", "dtype"]
AXIS_LABELS = {"n": "depth n (layers)", "d": "width d (elements)", "b": "batch b (examples)"}
HOME_ENGINE = "autodiff"
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
            name = self.planner
        return name if self.engine == HOME_ENGINE else f"{name}, {self.engine}"

    @property
    def look(self) -> Look:
        """The look of the series' mode."""
        return MODE_LOOKS.get(self.mode, MORE_LOOKS[-1])


def all_rows(results: Results) -> pd.DataFrame:
    """The rows of the exact part and of the larger shapes."""
    return pd.concat(
        [frame for frame in (results.results, results.scale) if len(frame)] or [results.results],
        ignore_index=True,
    )


def measured(frame: pd.DataFrame, *, micro_batches: bool = False) -> pd.DataFrame:
    """The rows that were measured, each shape once, without those of gradient accumulation unless they are asked for."""
    ok = frame[frame["status"] == "ok"].drop_duplicates(
        [*CASE, *AXES, "mode", "wrt", "planner", "engine", "micro_batches"]
    )
    return ok if micro_batches else ok[ok["micro_batches"] == 1]


def main_case(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the case that has most rows, of all engines."""
    if frame.empty:
        return frame
    sizes = frame.groupby(CASE, sort=False).size()
    chosen = sizes.index[int(sizes.to_numpy().argmax())]
    return frame[(frame[CASE] == pd.Series(dict(zip(CASE, chosen, strict=True)))).all(axis=1)]


def shape_counts(frame: pd.DataFrame, axis: str) -> pd.Series[int]:
    """How many values of an axis were swept at each pair of the other two, the most swept pairs only."""
    others = [other for other in AXES if other != axis]
    counts = frame.groupby(others)[axis].nunique()
    return counts[counts == counts.max()] if len(counts) else counts


def along(
    frame: pd.DataFrame, axis: str, prefer: Callable[[int, int, int], float] | None = None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of one line through the grid, and the two values that it keeps still.

    Among the lines with most values the one that `prefer(n, d, b)` rates highest (the moving axis is given as its middle value), else
    the one in the middle of the grid.
    """
    others = [other for other in AXES if other != axis]
    counts = shape_counts(frame, axis)
    middle = {
        name: math.exp(sum(math.log(value) for value in set(frame[name])) / frame[name].nunique())
        for name in AXES
    }

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
    """The series among the rows, in the order of the modes; of planners the first few."""
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
    """The theory's `ops` or `peak_bytes` of a shape; None where it has no closed form."""
    if series.mode not in theory.MODES:
        return None
    options = {"activation": case["activation"], "loss": case["loss"], **more}
    if series.engine != HOME_ENGINE:
        if quantity != "peak_bytes" or case["loss"] != "sum" or more:
            return None
        elements = theory.pytorch_peak_elements(
            series.mode, n, d, b, case["activation"], "W_1" if series.mode == "w1_only" else None
        )
        return None if elements is None else float(itemsize_of(case["dtype"]) * elements)
    if quantity == "ops":
        return float(theory.total_operations(series.mode, n, d, b, **options))
    return float(itemsize_of(case["dtype"]) * theory.peak_elements(series.mode, n, d, b, **options))


def theory_curve(
    series: Series,
    rows: pd.DataFrame,
    axis: str,
    fixed: dict[str, int],
    quantity: str,
    reach: int | None = None,
) -> tuple[list[int], list[float]]:
    """The theory along an axis, from the least to the greatest value measured (or to `reach`), at whole numbers.

    Where there is no closed form, the theory that the rows themselves carry; empty where they carry none.
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
    """Whole numbers from `low` to `high`, evenly spread on a logarithmic axis."""
    ratio = high / low
    return sorted({low, high, *(round(low * ratio ** (step / most)) for step in range(most + 1))})


def case_of(rows: pd.DataFrame) -> dict[str, Any]:
    """The case that the rows are of, by name."""
    first = rows.iloc[0]
    return {name: first[name] for name in CASE}


def itemsize_of(dtype: str) -> int:
    """The bytes of one element of a dtype such as float32."""
    digits = re.search(r"\d+$", dtype)
    return int(digits.group()) // 8 if digits else 4


def on_theory(frame: pd.DataFrame, quantity: str) -> tuple[int, int]:
    """How many of the rows that have a theory meet it, and how many have one."""
    both = frame[[quantity, f"theory_{quantity}"]].dropna()
    return int((both[quantity] == both[f"theory_{quantity}"]).sum()), len(both)


def meets(frame: pd.DataFrame, quantity: str) -> str:
    """A clause that says whether the marks of a figure lie on the theory's curves."""
    met, of = on_theory(frame, quantity)
    if not of:
        return "there is no theory to hold the marks against"
    return (
        f"all {of} marks lie on the theory’s curves"
        if met == of
        else f"ONLY {met} of {of} marks lie on the theory’s curves"
    )


def case_words(rows: pd.DataFrame) -> str:
    """The case in words, for a note under a figure."""
    case = case_of(rows)
    return f"{case['network']}, {case['activation']}, loss {case['loss']}, {case['dtype']}"


def fixed_words(fixed: dict[str, int]) -> str:
    """The values that are kept still, such as d = 16, b = 16."""
    return ", ".join(f"{name} = {value:,}" for name, value in fixed.items())
