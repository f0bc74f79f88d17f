"""The frontier of memory against time: every plan's peak against its operations and its seconds, marks on the theory's curves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes

from experiments.analysis.advice import exchange
from experiments.analysis.plans import STORE_ALL, Plan, PlanGroup, plan_groups
from experiments.figures import axes as scales
from experiments.figures.data import all_rows, main_case, measured
from experiments.figures.style import MODE_LOOKS, Drawing, Look, finish, handle, marks, new_figure
from experiments.grid.planners import operations_of
from experiments.results.tables import Results
from experiments.results.timings import left_out_words
from experiments.text import percent
from experiments.theory.checkpointing import checkpointed
from profiler.units import human_bytes

CAPTION = (
    "How to read it: to the right a step takes more time, upwards more memory; what lies further down and to the left is better. Each mark is "
    "a planner with its snapshots s or its segments k, from keeping everything (full) to keeping only the data. No-grad and W₁ alone are "
    "other tasks, shown to know the scale; PyTorch’s checkpoint_sequential stands beside uniform. Where the weight gradients make the peak "
    "there is nothing to gain, and every plan lies on one level."
)
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
_REFERENCES = {"full": "full (store all)", "no_grad": "no-grad", "w1_only": "W₁ only"}
_OTHER = Look("#c0470c", "P", "-", 8)
DEEPEST = 36
"""The theory of every s is drawn up to this depth; it takes seconds beyond."""


def draw_frontier(results: Results) -> Drawing | None:
    """Peak against operations and seconds of every plan, where activations and where gradients dominate; None without plans."""
    frame = main_case(measured(all_rows(results)))
    groups = plan_groups(frame[frame["n"] >= 2]) if len(frame) else []
    if not groups:
        return None
    panels = _panels(groups)
    figure = new_figure(4.3 if len(panels) == 1 else 7.4)
    spots = figure.add_gridspec(
        1 if len(panels) == 1 else 2,
        max(1, len(panels) - 1),
        height_ratios=[1.35, 1][: min(2, len(panels))],
    )
    places = [
        figure.add_subplot(spots[0, :]),
        *(figure.add_subplot(spots[1, index]) for index in range(len(panels) - 1)),
    ]
    legend: dict[str, Any] = {}
    for index, (axes, (group, quantity)) in enumerate(zip(places, panels, strict=True)):
        legend |= _panel(
            axes,
            group,
            quantity,
            "peak above parameters" if index < 2 else "",
            9.0 if index == 0 else 3.6,
        )
    title = _title(panels)
    case = groups[0].case
    drawn = {id(group): group for group, _ in panels}.values()
    note = f"{case['network']}, {case['activation']}, loss {case['loss']}, {case['dtype']} · lines theory, in seconds at the rate of full · {_meets(drawn)}"
    note += left_out_words(frame)
    finish(figure, title, note, [legend[key] for key in sorted(legend, key=_rank)])
    for axes, (group, quantity) in zip(places, panels, strict=True):
        _label_plans(axes, group, quantity)
    return Drawing(title, CAPTION, figure)


def _panels(groups: list[PlanGroup]) -> list[tuple[PlanGroup, str]]:
    """Group and quantity of each panel: operations on the widest batch, seconds where a step takes longest, operations on the widest layer."""
    most = max(len(group.plans) for group in groups)
    rich = [group for group in groups if 2 * len(group.plans) >= most]
    wide = max(rich, key=lambda group: (group.b / group.d, group.n, len(group.plans)))
    deep = max(rich, key=lambda group: (group.d / group.b, group.n, len(group.plans)))
    panels = [(wide, "ops")]
    timed = [group for group in groups if group.full.seconds and len(group.plans) > 1]
    timed = [group for group in timed if group.b >= 2 * group.d] or timed
    if timed:
        panels.append((max(timed, key=lambda group: group.full.ops), "seconds"))
    return [*panels, (deep, "ops")] if deep.d > deep.b and deep is not wide else panels


def _value(plan: Plan, quantity: str) -> float | None:
    return plan.seconds if quantity == "seconds" else float(plan.ops)


def _marked(group: PlanGroup) -> list[tuple[str, str, Look, bool, list[Plan]]]:
    """Each series of a panel: key, name, look, hollow, plans."""
    series = []
    for mode, name in _REFERENCES.items():
        for key, hollow in ((mode, False), (f"{mode}, pytorch", True)):
            if key in group.references:
                series.append((key, name, MODE_LOOKS[mode], hollow, [group.references[key]]))
    for hollow, plans in ((False, group.plans), (True, group.theirs)):
        for family in dict.fromkeys(_family(plan) for plan in plans):
            name, look = _FAMILIES.get(family, (family, _OTHER))
            mine = [plan for plan in plans if _family(plan) == family]
            series.append((f"{family}{', pytorch' if hollow else ''}", name, look, hollow, mine))
    return series


def _rank(key: str) -> int:
    """The place of a series in the legend: ours before PyTorch's."""
    order = [*_REFERENCES, *_FAMILIES]
    return len(order) + (key == "~") if key not in order else order.index(key)


def _family(plan: Plan) -> str:
    return plan.planner.split("(")[0] if plan.planner != STORE_ALL else STORE_ALL


def _panel(
    axes: Axes, group: PlanGroup, quantity: str, label: str, inches: float
) -> dict[str, Any]:
    """The curves and the marks of one shape; returns the legend's entries."""
    rate = (group.full.seconds or 0.0) / group.full.ops if quantity == "seconds" else 1.0
    xs: list[float] = []
    ys: list[float] = []
    for family, (_, look) in _FAMILIES.items():
        curve = _curve(group, family)
        if len(curve) > 1 and any(_family(plan) == family for plan in group.plans):
            axes.plot(
                [ops * rate for ops, _ in curve],
                [peak for _, peak in curve],
                color=look.colour,
                linestyle=look.dash,
                zorder=3,
                linewidth=1.1,
            )
            xs += [ops * rate for ops, _ in curve]
            ys += [peak for _, peak in curve]
    legend: dict[str, Any] = {}
    for rank, (key, name, look, hollow, plans) in enumerate(_marked(group)):
        points = [
            (value, plan.peak_bytes)
            for plan in plans
            if (value := _value(plan, quantity)) is not None
        ]
        if not points:
            continue
        marks(
            axes,
            [x for x, _ in points],
            [y for _, y in points],
            look,
            hollow=hollow,
            rank=rank,
            size=6 if hollow else 8.5 if key in _REFERENCES else look.size,
        )
        xs += [x for x, _ in points]
        ys += [y for _, y in points]
        if hollow:
            legend["~"] = handle("PyTorch (hollow)", UNIFORM, line=False, hollow=True)
        else:
            legend[key] = handle(name, look, line=key in ("revolve", "uniform"))
    if quantity == "seconds":
        scales.second_axis(axes, xs, "time of a step", which="x", inches=inches)
    else:
        scales.count_axis(axes, xs, "operations of a step", which="x", inches=inches)
    scales.byte_axis(axes, [*ys, 0.8 * min(ys)], label, at_most=7 if inches > 4 else 6)
    side = "b > d" if group.b > group.d else "d > b" if group.d > group.b else "b = d"
    axes.set_title(f"{side}: {group.shape}")
    return legend


@lru_cache(maxsize=64)
def _theory(
    family: str, n: int, d: int, b: int, count: int, activation: str, loss: str
) -> tuple[int, int]:
    name = {"revolve": "snapshots", "uniform": "segments"}[family]
    found = checkpointed(family, n, d, b, activation=activation, loss=loss, **{name: count})
    return operations_of(found), int(found.peak_elements)


def _curve(group: PlanGroup, family: str) -> list[tuple[int, int]]:
    """The theory's operations and peak bytes for every s or k, in its order; for deep networks at those that were measured."""
    if family == "recompute_all":
        return []
    counts: Iterable[int] = range(1, group.n + 1)
    if group.n > DEEPEST:
        found = (
            re.search(r"=(\d+)\)", plan.planner) for plan in group.plans if _family(plan) == family
        )
        counts = sorted({min(int(count[1]), group.n) for count in found if count})
    case = (group.case["activation"], group.case["loss"])
    values = [_theory(family, group.n, group.d, group.b, count, *case) for count in counts]
    return [(ops, group.itemsize * peak) for ops, peak in values]


def _meets(groups: Iterable[PlanGroup]) -> str:
    """Whether our marks lie on the theory's."""
    plans = [
        plan
        for group in groups
        for plan in (*group.plans, *group.references.values())
        if plan.theory_peak_bytes and plan.theory_ops
    ]
    met = sum(
        plan.peak_bytes == plan.theory_peak_bytes and plan.ops == plan.theory_ops for plan in plans
    )
    if not plans:
        return "there is no theory to hold the marks against"
    return (
        f"all {met} marks with a theory meet it"
        if met == len(plans)
        else f"ONLY {met} of {len(plans)} marks with a theory meet it"
    )


def _label_plans(axes: Axes, group: PlanGroup, quantity: str) -> None:
    """Write s or k beside each mark where it touches no other mark and no other label."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    renderer: Any = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    everything = [plan for _, _, _, _, plans in _marked(group) for plan in plans]
    places = [
        (value, plan.peak_bytes)
        for plan in everything
        if (value := _value(plan, quantity)) is not None
    ]
    dots = axes.transData.transform(places)
    taken: list[tuple[float, float, float, float]] = []
    unit = axes.figure.dpi / 72
    frame = axes.get_window_extent()
    for plan in sorted(group.plans, key=lambda plan: (plan.peak_bytes, plan.ops)):
        count, x = re.search(r"(snapshots|segments)=(\d+)", plan.planner), _value(plan, quantity)
        if not count or x is None:
            continue
        text = f"{'s' if count[1] == 'snapshots' else 'k'} = {count[2]}"
        colour = (REVOLVE if count[1] == "snapshots" else UNIFORM).colour
        for dx, dy, across, up in (
            (-6, -7, "right", "top"),
            (6, 5, "left", "bottom"),
            (0, -8, "center", "top"),
            (0, 8, "center", "bottom"),
        ):
            label = axes.annotate(
                text,
                (x, plan.peak_bytes),
                xytext=(dx, dy),
                textcoords="offset points",
                ha=across,
                va=up,
                size=8.5,
                color=colour,
                zorder=6,
            )
            box = label.get_window_extent(renderer)
            here = (box.x0 - unit, box.y0 - unit, box.x1 + unit, box.y1 + unit)
            hits = any(
                here[0] < ox1 and ox0 < here[2] and here[1] < oy1 and oy0 < here[3]
                for ox0, oy0, ox1, oy1 in taken
            )
            hits = hits or any(
                here[0] - 4 * unit < px < here[2] + 4 * unit
                and here[1] - 3 * unit < py < here[3] + 3 * unit
                for px, py in dots
            )
            if (
                not hits
                and frame.x0 < here[0]
                and here[2] < frame.x1
                and frame.y0 < here[1]
                and here[3] < frame.y1
            ):
                taken.append(here)
                break
            label.remove()


def _title(panels: list[tuple[PlanGroup, str]]) -> str:
    """What the lowest plan and the best exchange save and cost where activations dominate, and what falls where gradients do."""
    facts = []
    for group, quantity in panels:
        if quantity != "ops":
            continue
        best, middle, full = group.best, exchange(group), group.full
        if not best:
            facts.append(
                f"where d = {group.d} and b = {group.b}, no plan takes the peak below {human_bytes(full.peak_bytes)}"
            )
            continue
        lowest = best[0]
        words = f"the peak falls from {human_bytes(full.peak_bytes)} to {human_bytes(lowest.peak_bytes)} for {_times(lowest, full)} the operations"
        if middle is not None and middle != lowest:
            words += f", or to {human_bytes(middle.peak_bytes)} for {percent(middle.ops - full.ops, full.ops)} more"
        facts.append(f"{words} ({group.shape})")
    text = "; ".join(facts)
    return text[0].upper() + text[1:]


def _times(plan: Plan, full: Plan) -> str:
    ratio = plan.ops / full.ops
    return f"{ratio:.2g} times" if ratio >= 1.05 or math.isclose(ratio, 1) else f"{ratio:.3f} times"
