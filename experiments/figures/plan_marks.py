"""A panel of the frontier: marks of plans, the theory's curves through them, and their labels."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from experiments.analysis.plans import Plan, PlanGroup
from experiments.figures import axes as scales
from experiments.figures.style import MODE_LOOKS, Look, handle, marks
from experiments.grid.planners import operations_of
from experiments.theory.checkpointing import checkpointed

REVOLVE, UNIFORM, RECOMPUTE = (
    Look("#6b2d80", "v", "-", 7.5),
    Look("#00785a", "s", (0, (4, 2)), 6.5),
    Look("#8a8a8a", "X", "-", 8.5),
)
_FAMILIES = {
    "revolve": ("revolve, s snapshots", REVOLVE),
    "uniform": ("uniform, k segments", UNIFORM),
    "recompute_all": ("recompute all", RECOMPUTE),
}
_COUNTS = {"revolve": ("snapshots", "s"), "uniform": ("segments", "k")}
_REFERENCES = {"full": "full (store all)", "no_grad": "no-grad", "w1_only": "W₁ only"}
_OTHER = Look("#c0470c", "P", "-", 8)
LEGEND = (*_REFERENCES, *_FAMILIES)
"""The legend's order; PyTorch and planners from elsewhere follow."""

DEEPEST = 36
"""The theory of every s is drawn up to this depth; it takes seconds beyond."""

_OFFSETS = (
    (-6, -7, "right", "top"),
    (6, 5, "left", "bottom"),
    (0, -8, "center", "top"),
    (0, 8, "center", "bottom"),
)
"""Where a label may stand: its offset from the mark in points, and its alignment."""


class _Marked(NamedTuple):
    """The marks of one series of a panel."""

    key: str
    name: str
    look: Look
    hollow: bool
    plans: list[Plan]


def draw_panel(
    axes: Axes, group: PlanGroup, quantity: str, label: str, inches: float
) -> dict[str, Any]:
    """Draw the curves and the marks of one shape; return the legend's entries."""
    rate = (group.full.seconds or 0.0) / group.full.ops if quantity == "seconds" else 1.0
    drawn = _draw_curves(axes, group, rate)
    legend: dict[str, Any] = {}
    for rank, one in enumerate(_marked(group)):
        points = _points(one.plans, quantity)
        if not points:
            continue
        xs, ys = zip(*points, strict=True)
        size = 6 if one.hollow else 8.5 if one.key in _REFERENCES else one.look.size
        marks(axes, xs, ys, one.look, hollow=one.hollow, rank=rank, size=size)
        drawn += points
        if one.hollow:
            legend["pytorch"] = handle("PyTorch (hollow)", UNIFORM, line=False, hollow=True)
        else:
            legend[one.key] = handle(one.name, one.look, line=one.key in _COUNTS)
    across, up = [x for x, _ in drawn], [y for _, y in drawn]
    if quantity == "seconds":
        scales.second_axis(axes, across, "time of a step", which="x", inches=inches)
    else:
        scales.count_axis(axes, across, "operations of a step", which="x", inches=inches)
    scales.byte_axis(axes, [*up, 0.8 * min(up)], label, at_most=7 if inches > 4 else 6)
    side = "b > d" if group.b > group.d else "d > b" if group.d > group.b else "b = d"
    axes.set_title(f"{side}: {group.shape}")
    return legend


def _points(plans: Iterable[Plan], quantity: str) -> list[tuple[float, float]]:
    """Return quantity and peak of the plans that have the quantity."""
    values = [(plan.seconds if quantity == "seconds" else plan.ops, plan) for plan in plans]
    return [(float(value), float(plan.peak_bytes)) for value, plan in values if value is not None]


def _marked(group: PlanGroup) -> list[_Marked]:
    """Return each series of a panel."""
    series = []
    for mode, name in _REFERENCES.items():
        for key, hollow in ((mode, False), (f"{mode}, pytorch", True)):
            if key in group.references:
                plans = [group.references[key]]
                series.append(_Marked(key, name, MODE_LOOKS[mode], hollow, plans))
    for hollow, plans in ((False, list(group.plans)), (True, list(group.theirs))):
        for family in dict.fromkeys(plan.family for plan in plans):
            name, look = _FAMILIES.get(family, (family, _OTHER))
            mine = [plan for plan in plans if plan.family == family]
            key = f"{family}{', pytorch' if hollow else ''}"
            series.append(_Marked(key, name, look, hollow, mine))
    return series


def _draw_curves(axes: Axes, group: PlanGroup, rate: float) -> list[tuple[float, float]]:
    """Draw the theory of each family that has a plan; return the points of the curves."""
    drawn = []
    for family in _COUNTS:
        curve = [(ops * rate, peak) for ops, peak in _curve(group, family)]
        if len(curve) > 1 and any(plan.family == family for plan in group.plans):
            xs, ys = zip(*curve, strict=True)
            look = _FAMILIES[family][1]
            axes.plot(xs, ys, color=look.colour, linestyle=look.dash, zorder=3, linewidth=1.1)
            drawn += curve
    return drawn


@lru_cache(maxsize=64)
def _theory(
    family: str, n: int, d: int, b: int, count: int, activation: str, loss: str
) -> tuple[int, int]:
    parameters: dict[str, Any] = {_COUNTS[family][0]: count}
    found = checkpointed(family, n, d, b, activation=activation, loss=loss, **parameters)
    return operations_of(found), int(found.peak_elements)


def _curve(group: PlanGroup, family: str) -> list[tuple[float, float]]:
    """Return the theory's operations and peak bytes for every s or k, in its order.

    Of deep networks only for those that have rows.
    """
    counts: Iterable[int] = range(1, group.n + 1)
    if group.n > DEEPEST:
        found = [plan.count for plan in group.plans if plan.family == family]
        counts = sorted({min(count, group.n) for count in found if count is not None})
    case = (group.case["activation"], group.case["loss"])
    values = [_theory(family, group.n, group.d, group.b, count, *case) for count in counts]
    return [(float(ops), float(group.itemsize * peak)) for ops, peak in values]


def label_plans(axes: Axes, group: PlanGroup, quantity: str) -> None:
    """Write s or k next to each mark where the label touches no other mark and no other label."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    everything = [plan for one in _marked(group) for plan in one.plans]
    dots = axes.transData.transform(_points(everything, quantity)).tolist()
    taken: list[Bbox] = []
    for plan in sorted(group.plans, key=lambda plan: (plan.peak_bytes, plan.ops)):
        points = _points([plan], quantity)
        if plan.family in _COUNTS and plan.count is not None and points:
            text = f"{_COUNTS[plan.family][1]} = {plan.count}"
            colour = _FAMILIES[plan.family][1].colour
            taken += _label(axes, text, points[0], colour, dots, taken)


def _label(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    colour: str,
    dots: list[tuple[float, float]],
    taken: list[Bbox],
) -> list[Bbox]:
    """Write a label where there is room; return its box, or nothing where there is none."""
    renderer: Any = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    unit, frame = axes.figure.dpi / 72, axes.get_window_extent()
    for dx, dy, across, up in _OFFSETS:
        label = axes.annotate(
            text, place, xytext=(dx, dy), textcoords="offset points", ha=across, va=up,
            size=8.5, color=colour, zorder=6,
        )  # fmt: skip
        box = label.get_window_extent(renderer).padded(unit)
        near = box.padded(4 * unit, 3 * unit)
        is_free = not any(box.overlaps(other) for other in taken)
        is_free = is_free and not any(near.contains(x, y) for x, y in dots)
        if is_free and frame.contains(*box.min) and frame.contains(*box.max):
            return [box]
        label.remove()
    return []
