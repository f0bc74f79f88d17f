"""What checkpointing saves and costs, plan by plan, and why the peak does not fall where it stays.

Saving and cost are differences of rows. What dominates a peak is read from the bytes of each role
at it (columns `peak_…_bytes`), in the words of `profiler.savings`.
Bound: chains of equal layers with all gradients asked for. It proposes no plan that has no row, and
compares times only where both steps were timed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from autodiff.instructions import ACTIVATION, GRADIENT, PARAMETER_GRADIENT, TEMPORARY
from experiments.analysis.plans import Plan, PlanGroup, plan_groups
from experiments.results.timings import LEAST_SECONDS
from experiments.text import joined, percent
from profiler.savings import ACTIVATIONS, AT_WORK, WEIGHTS, peak_words
from profiler.units import human_bytes

MOST_GROUPS, MOST_LINES, MOST_NAMES = 5, 9, 5


@dataclass(frozen=True)
class AdviceLine:
    """A plan in a table: what it saves and costs against `full`, and what dominates its peak."""

    planner: str
    peak: str
    saved: str
    more: str
    time: str
    why: str


@dataclass(frozen=True)
class Advice:
    """What to do at one shape: a heading, sentences, and the plans worth taking."""

    heading: str
    sentences: tuple[str, ...]
    lines: tuple[AdviceLine, ...]


def advice_of(rows: pd.DataFrame) -> list[Advice]:
    """Return advice for the shapes with most plans, those where a plan saves memory first."""
    groups = sorted(plan_groups(rows), key=lambda group: (-len(group.plans), -group.n))
    groups = sorted(groups[:MOST_GROUPS], key=lambda group: not group.best)
    return [_advice(group) for group in groups]


def _advice(group: PlanGroup) -> Advice:
    best = group.best
    sentences = (
        [_not_at_all(group)] if not best else [_least(group, best[0]), *_trade_off(group, best)]
    )
    idle = [plan.words for plan in group.plans if plan not in best]
    if best and idle:
        shown = MOST_NAMES - 1
        named = idle if len(idle) <= MOST_NAMES else [*idle[:shown], f"{len(idle) - shown} more"]
        sentences.append(
            "Not useful here, because another plan or keeping everything needs no more memory and "
            f"no more operations: {joined(named)}."
        )
    lines = tuple(_line(group, plan) for plan in (*_some(best, trade_off(group)), group.full))
    network = f"{group.case['activation']}, loss {group.case['loss']}"
    return Advice(f"{group.shape} ({network})", tuple(sentences), lines if best else ())


def _some(best: tuple[Plan, ...], wanted: Plan | None) -> list[Plan]:
    """Return the plans that a table has room for: first, last, `wanted`, and evenly between."""
    if len(best) <= MOST_LINES:
        return list(best)
    chosen = {round(index * (len(best) - 1) / (MOST_LINES - 1)) for index in range(MOST_LINES)}
    return [plan for index, plan in enumerate(best) if index in chosen or plan is wanted]


def _least(group: PlanGroup, plan: Plan) -> str:
    """Return the lowest peak, its cost, and what dominates it, in a sentence."""
    return f"Least memory: {plan.words} {lowers(group.full, plan)}; the rest is {dominates(plan)}."


def lowers(full: Plan, plan: Plan) -> str:
    """Return how far a plan lowers the peak of keeping everything, and at what cost."""
    less = percent(full.peak_bytes - plan.peak_bytes, full.peak_bytes)
    fall = f"from {human_bytes(full.peak_bytes)} to {human_bytes(plan.peak_bytes)} (−{less})"
    return f"lowers the peak {fall} for {_cost(full, plan)}"


def _trade_off(group: PlanGroup, best: tuple[Plan, ...]) -> list[str]:
    """Return the plan of the best trade-off in a sentence, unless it is the lowest."""
    plan = trade_off(group)
    if plan is None or plan == best[0]:
        return []
    return [f"Best trade-off (least peak × operations): {plan.words} {lowers(group.full, plan)}."]


def trade_off(group: PlanGroup) -> Plan | None:
    """Return the plan with the least product of peak and operations.

    None where no plan lowers the peak, or none lowers the product.
    """
    found = min(group.best, key=lambda plan: plan.peak_bytes * plan.ops, default=None)
    kept = group.full.peak_bytes * group.full.ops
    return None if found is None or found.peak_bytes * found.ops >= kept else found


def _not_at_all(group: PlanGroup) -> str:
    """Return that no plan lowers the peak, what the plans cost, and what dominates the peak."""
    full, one = group.full, len(group.plans) == 1
    low, high = (
        percent(function(plan.ops for plan in group.plans) - full.ops, full.ops)
        for function in (min, max)
    )
    cost = f"{high} more operations" if high == low else f"{low} to {high} more operations"
    lowest = _lowest(group)
    many = "the one plan" if one else f"all {len(group.plans)} plans"
    if lowest.peak_bytes == full.peak_bytes:
        level = f"{'stays' if one else 'stay'} at {human_bytes(full.peak_bytes)}"
    else:
        level = (
            f"{'needs' if one else 'need'} at least {human_bytes(lowest.peak_bytes)}, "
            f"more than the {human_bytes(full.peak_bytes)} of keeping everything"
        )
    return (
        f"Checkpointing does not help here: {many} {level}, for {cost}. "
        f"What dominates the peak: {dominates(lowest)}."
    )


def _lowest(group: PlanGroup) -> Plan:
    """Return the plan of the lowest peak; of several, the one whose peak has most gradients.

    Where two moments are equally high, plans differ in which comes first.
    """
    return min(group.plans, key=lambda plan: (plan.peak_bytes, -plan.roles[PARAMETER_GRADIENT]))


def gradients_dominate(group: PlanGroup) -> bool:
    """Return whether weight gradients are more than half of even the lowest peak."""
    lowest = _lowest(group)
    return 2 * lowest.roles[PARAMETER_GRADIENT] > lowest.peak_bytes


def _cost(full: Plan, plan: Plan) -> str:
    words = (
        "no more operations"
        if plan.ops == full.ops
        else f"{percent(plan.ops - full.ops, full.ops)} more operations"
    )
    times = slower(full, plan)
    return words if times is None else f"{words} ({times:.2f}× the time)"


def slower(full: Plan, plan: Plan) -> float | None:
    """Return how many times as long a plan takes; None where a step is too short to tell."""
    if not full.seconds or not plan.seconds or full.seconds < LEAST_SECONDS:
        return None
    return plan.seconds / full.seconds


def dominates(plan: Plan) -> str:
    """Return what dominates a plan's peak: the parts that matter, with their shares."""
    parts = {
        WEIGHTS: plan.roles[PARAMETER_GRADIENT],
        ACTIVATIONS: plan.roles[ACTIVATION],
        AT_WORK: plan.roles[GRADIENT] + plan.roles[TEMPORARY],
    }
    return peak_words({part: nbytes for part, nbytes in parts.items() if nbytes})


def _line(group: PlanGroup, plan: Plan) -> AdviceLine:
    full, times = group.full, slower(group.full, plan)
    why, time = dominates(plan), "–" if times is None else f"{times:.2f}×"
    if plan is full:
        return AdviceLine("store all (full)", human_bytes(plan.peak_bytes), "–", "–", time, why)
    saved = percent(full.peak_bytes - plan.peak_bytes, full.peak_bytes)
    more = percent(plan.ops - full.ops, full.ops)
    return AdviceLine(plan.words, human_bytes(plan.peak_bytes), saved, more, time, why)
