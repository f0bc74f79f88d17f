"""The frontier of memory against time: every plan's peak against its operations and its time.

Marks stand on the theory's curves; `plan_marks` draws a panel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.analysis.advice import trade_off
from experiments.analysis.plans import PlanGroup, plan_groups
from experiments.analysis.selection import all_rows, source_words
from experiments.analysis.verdict import Agreement, agreement_words
from experiments.figures.data import case_words, main_case, points_of
from experiments.figures.plan_marks import LEGEND, draw_panel, label_plans
from experiments.figures.style import Drawing, finish, new_figure
from experiments.results.tables import Results
from experiments.results.timings import LEAST_SECONDS, left_out_words, too_short_words
from experiments.text import percent
from profiler.units import human_bytes

CAPTION = (
    "How to read it: to the right a step takes more time, upwards more memory; further down and to "
    "the left is better. Each mark is a planner with its snapshots s or its segments k, from "
    "keeping everything (full) to keeping only the data. No-grad and W₁ only are other tasks, "
    "shown "
    "for scale; PyTorch’s checkpoint_sequential is shown with uniform. Where weight gradients "
    "dominate the peak there is nothing to gain, and every plan lies on one level."
)


def draw_frontier(results: Results) -> Drawing | None:
    """Draw every plan's peak against operations and time, by what dominates; None without plans."""
    frame = main_case(points_of(all_rows(results)))
    groups = plan_groups(frame[frame["n"] >= 2]) if len(frame) else []
    if not groups:
        return None
    panels = _panels(groups)
    figure = new_figure(4.3 if len(panels) == 1 else 7.4)
    places = _places(figure, len(panels))
    legend: dict[str, Any] = {}
    for index, (axes, (group, quantity)) in enumerate(zip(places, panels, strict=True)):
        label = "peak above parameters" if index < 2 else ""
        legend |= draw_panel(axes, group, quantity, label, 9.0 if index == 0 else 3.6)
    title = _title(panels)
    drawn = {id(group): group for group, _ in panels}.values()
    rate = (
        ", in seconds at the rate of full"
        if any(quantity == "seconds" for _, quantity in panels)
        else ""
    )
    longest = max((group.full.seconds or 0.0 for group in groups if not rate), default=0.0)
    note = (
        f"{case_words(frame)} · marks {source_words(frame)}, lines theory{rate} · "
        f"{_agreement(drawn)}{left_out_words(frame)}{too_short_words(longest, 'longest')}"
    )
    order = [key for key in LEGEND if key in legend]
    rest = [key for key in legend if key not in LEGEND]
    finish(figure, title, note, [legend[key] for key in (*order, *rest)])
    for axes, (group, quantity) in zip(places, panels, strict=True):
        label_plans(axes, group, quantity)
    return Drawing(title, CAPTION, figure)


def _places(figure: Figure, count: int) -> list[Axes]:
    """Return the panels: one across the whole width, and the others in a row below it."""
    rows = min(2, count)
    spots = figure.add_gridspec(rows, max(1, count - 1), height_ratios=[1.35, 1][:rows])
    below = [figure.add_subplot(spots[1, index]) for index in range(count - 1)]
    return [figure.add_subplot(spots[0, :]), *below]


def _panels(groups: list[PlanGroup]) -> list[tuple[PlanGroup, str]]:
    """Return group and quantity of each panel.

    Operations on the widest batch, seconds where a step takes longest, operations on the widest
    layer. Seconds are left out where every step is too short for its time to mean anything.
    """
    most = max(len(group.plans) for group in groups)
    rich = [group for group in groups if 2 * len(group.plans) >= most]
    wide = max(rich, key=lambda group: (group.b / group.d, group.n, len(group.plans)))
    deep = max(rich, key=lambda group: (group.d / group.b, group.n, len(group.plans)))
    panels = [(wide, "ops")]
    timed = [
        group
        for group in groups
        if (group.full.seconds or 0.0) >= LEAST_SECONDS and len(group.plans) > 1
    ]
    timed = [group for group in timed if group.b >= 2 * group.d] or timed
    if timed:
        panels.append((max(timed, key=lambda group: group.full.ops), "seconds"))
    return [*panels, (deep, "ops")] if deep.d > deep.b and deep is not wide else panels


def _agreement(groups: Iterable[PlanGroup]) -> str:
    """Return how many of our marks equal the theory, and in what."""
    plans = [plan for group in groups for plan in (*group.plans, *group.references.values())]
    found = {
        "operations": Agreement.of((plan.ops, plan.theory_ops) for plan in plans),
        "bytes": Agreement.of((plan.peak_bytes, plan.theory_peak_bytes) for plan in plans),
    }
    wrong = any(one.equal < one.compared for one in found.values())
    return f"{'ONLY ' if wrong else ''}{agreement_words(found, 'marks')}"


def _title(panels: list[tuple[PlanGroup, str]]) -> str:
    """Return what the lowest plan and the best trade-off save and cost at each shape."""
    facts = []
    for group, quantity in panels:
        if quantity != "ops":
            continue
        best, middle, full = group.best, trade_off(group), group.full
        if not best:
            facts.append(
                f"where d = {group.d} and b = {group.b}, no plan lowers the peak below "
                f"{human_bytes(full.peak_bytes)}"
            )
            continue
        lowest = best[0]
        words = (
            f"the peak falls from {human_bytes(full.peak_bytes)} to "
            f"{human_bytes(lowest.peak_bytes)} for {_times(lowest.ops / full.ops)} the operations"
        )
        if middle is not None and middle != lowest:
            more = percent(middle.ops - full.ops, full.ops)
            words += f", or to {human_bytes(middle.peak_bytes)} for {more} more"
        facts.append(f"{words} ({group.shape})")
    text = "; ".join(facts)
    return text[0].upper() + text[1:]


def _times(ratio: float) -> str:
    return f"{ratio:.2g}×" if ratio >= 1.05 or math.isclose(ratio, 1) else f"{ratio:.3f}×"
