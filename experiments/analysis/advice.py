"""What checkpointing saved and what it cost, plan by plan, and where the peak did not fall: why. From measured rows to sentences.

Saving and cost are differences of measured rows.
What holds a peak up is read from the roles that make it (columns `peak_…_bytes`): n·d² elements of weight gradients that no plan can drop,
the last segment of `uniform` that is kept whole, or the working set (the snapshots, and what the layer being reversed reads and makes).
Letters: A = bd, one activation; D = d², one weight gradient. Bound: chains of equal layers with all gradients asked for. It proposes no plan
that was not measured, and says nothing of seconds beyond what was timed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import pandas as pd

from experiments.analysis.plans import STORE_ALL, Plan, PlanGroup, plan_groups
from experiments.text import counted, joined, percent
from profiler.units import human_bytes

MOST_GROUPS, MOST_LINES = 5, 9
LEAST_SECONDS = 0.004
"""A step shorter than this is mostly the cost of calling, and its times scatter."""


@dataclass(frozen=True)
class AdviceLine:
    """A plan in a table: what it saves and costs beside `full`, and what its peak consists of."""

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
    """Advice for each shape with plans, of those with most plans as many as a reader can bear, those that save first; empty without checkpointed rows."""
    groups = sorted(plan_groups(rows), key=lambda group: (-len(group.plans), -group.n))
    groups = sorted(groups[:MOST_GROUPS], key=lambda group: not group.best)
    return [_advice(group) for group in groups]


def _advice(group: PlanGroup) -> Advice:
    best = group.best
    sentences = (
        [_not_at_all(group)] if not best else [_least(group, best[0]), *_exchange(group, best)]
    )
    idle = [plan.words for plan in group.plans if plan not in best]
    if best and idle:
        named = idle if len(idle) <= 5 else [*idle[:4], f"{len(idle) - 4} more"]
        sentences.append(
            f"No use here, since another plan or keeping everything takes no more memory and no more operations: {joined(named)}."
        )
    lines = tuple(_line(group, plan) for plan in (*_some(best, exchange(group)), group.full))
    network = f"{group.case['activation']}, loss {group.case['loss']}"
    return Advice(f"{group.shape} ({network})", tuple(sentences), lines if best else ())


def _some(best: tuple[Plan, ...], wanted: Plan | None) -> list[Plan]:
    """At most so many plans as a table bears: the first, the last, the one that is wanted, and others evenly between."""
    if len(best) <= MOST_LINES:
        return list(best)
    chosen = {round(index * (len(best) - 1) / (MOST_LINES - 1)) for index in range(MOST_LINES)}
    return [plan for index, plan in enumerate(best) if index in chosen or plan is wanted]


def _least(group: PlanGroup, plan: Plan) -> str:
    """The lowest peak, its cost, and what it consists of."""
    full = group.full
    less = percent(full.peak_bytes - plan.peak_bytes, full.peak_bytes)
    fall = f"from {human_bytes(full.peak_bytes)} to {human_bytes(plan.peak_bytes)} ({less} less)"
    return f"Least memory: {plan.words} takes the peak {fall} for {_cost(full, plan)}. What is left is {held_up_by(group, plan)}."


def _exchange(group: PlanGroup, best: tuple[Plan, ...]) -> list[str]:
    """The plan at which the product of peak and operations is least, where it is another than the lowest."""
    plan = exchange(group)
    if plan is None or plan == best[0]:
        return []
    full = group.full
    saved = percent(full.peak_bytes - plan.peak_bytes, full.peak_bytes)
    return [
        f"Best exchange, by the product of peak and operations: {plan.words} saves {saved} for {_cost(full, plan)}."
    ]


def exchange(group: PlanGroup) -> Plan | None:
    """The plan of the least product of peak and operations; None where no plan lowers the peak, or none lowers the product."""
    found = min(group.best, key=lambda plan: plan.peak_bytes * plan.ops, default=None)
    return (
        None
        if found is None or found.peak_bytes * found.ops >= group.full.peak_bytes * group.full.ops
        else found
    )


def _not_at_all(group: PlanGroup) -> str:
    """That nothing falls, what it costs all the same, and why: what the lowest of the plans is held up by."""
    full, one = group.full, len(group.plans) == 1
    low, high = (
        percent(function(plan.ops for plan in group.plans) - full.ops, full.ops)
        for function in (min, max)
    )
    cost = (
        f"{low.removesuffix(' %')} to {high} more operations"
        if high != low
        else f"{high} more operations"
    )
    lowest = _lowest(group)
    many = "the one plan" if one else f"all {len(group.plans)} plans"
    if lowest.peak_bytes == full.peak_bytes:
        level = f"{'stays' if one else 'stay'} at {human_bytes(full.peak_bytes)}"
    else:
        level = f"{'takes' if one else 'take'} at least {human_bytes(lowest.peak_bytes)}, where keeping everything takes {human_bytes(full.peak_bytes)}"
    return f"Checkpointing saves nothing here: {many} {level}, for {cost}. What keeps the peak up is {held_up_by(group, lowest)}."


def _lowest(group: PlanGroup) -> Plan:
    """The plan of the lowest peak.

    Where two moments are equally high, plans differ in which comes first; the one with most gradients shows what none can drop.
    """
    return min(group.plans, key=lambda plan: (plan.peak_bytes, -plan.roles["parameter_gradient"]))


def weights_rule(group: PlanGroup) -> bool:
    """Whether weight gradients are what holds up even the lowest peak."""
    lowest = _lowest(group)
    return 2 * lowest.roles["parameter_gradient"] > lowest.peak_bytes


def _cost(full: Plan, plan: Plan) -> str:
    words = (
        "not one operation more"
        if plan.ops == full.ops
        else f"{percent(plan.ops - full.ops, full.ops)} more operations"
    )
    times = slower(full, plan)
    return words if times is None else f"{words} ({times:.2f} times the seconds)"


def slower(full: Plan, plan: Plan) -> float | None:
    """How many times as long a plan takes; None where a step is too short for its seconds to mean anything."""
    return (
        plan.seconds / full.seconds
        if full.seconds and plan.seconds and full.seconds >= LEAST_SECONDS
        else None
    )


def held_up_by(group: PlanGroup, plan: Plan, brief: bool = False) -> str:
    """What a peak consists of, from the roles that make it: the gradients, the last segment, or the working set."""
    held, made, weights = (
        plan.roles[role] for role in ("activation", "gradient", "parameter_gradient")
    )
    alive = round(weights / group.weight_bytes)
    share = percent(weights, plan.peak_bytes)
    if alive == group.n or 2 * weights > plan.peak_bytes:
        which = (
            f"all {group.n} weight gradients"
            if alive == group.n
            else f"{alive} of {counted(group.n, 'weight gradient')}"
        )
        return f"the gradients: {which} are {share} of it ({human_bytes(weights)})" + (
            "" if brief else ", and no plan drops those"
        )
    last = _last_segment(plan.planner, group.n)
    if last and alive <= last:
        name = (
            f"the last segment: its {counted(last, 'layer')} {'is' if last == 1 else 'are'} kept whole"
            if last < group.n
            else "the activations: all are kept"
        )
        return f"{name}; {_units(held, group)}, {percent(held, plan.peak_bytes)} of it"
    reads = "" if brief else " (snapshots, and what the layer being reversed reads)"
    parts = [f"{_units(held, group)}{reads}", f"{_count(made, group):.3g} of their gradients"]
    return f"the working set: {joined([*parts, *([counted(alive, 'weight gradient')] if alive else [])])}"


def _count(nbytes: int, group: PlanGroup) -> float:
    """Bytes as so many activations, the few elements of L and its seed left out."""
    count = nbytes / group.activation_bytes
    few = 8 * group.itemsize / group.activation_bytes
    return math.floor(count) if count - math.floor(count) < few else count


def _units(nbytes: int, group: PlanGroup) -> str:
    count = _count(nbytes, group)
    return f"{count:.3g} activation{'' if count == 1 else 's'}"


def _last_segment(planner: str, n: int) -> int:
    """The layers that a plan keeps at the end: the last segment of `uniform`, all of `store_all`; 0 for the others."""
    if planner == STORE_ALL:
        return n
    if not planner.startswith("uniform"):
        return 0
    found = re.search(r"segments=(\d+)", planner)
    return -(-n // (int(found[1]) if found else max(1, round(math.sqrt(n)))))


def _line(group: PlanGroup, plan: Plan) -> AdviceLine:
    full, times = group.full, slower(group.full, plan)
    why, time = held_up_by(group, plan, brief=True), "–" if times is None else f"{times:.2f}"
    if plan is full:
        return AdviceLine("store all (full)", human_bytes(plan.peak_bytes), "–", "–", time, why)
    saved, more = (
        percent(full.peak_bytes - plan.peak_bytes, full.peak_bytes),
        percent(plan.ops - full.ops, full.ops),
    )
    return AdviceLine(plan.words, human_bytes(plan.peak_bytes), saved, more, time, why)
