"""The exercise's four lessons in numbers: no gradients, freezing, smaller batches, checkpointing.

Each sentence compares rows of one network at one shape: the deepest that all of them have, with the
widest batch for its width. A lesson without such rows is left out.
Bound: our engine's rows; it says nothing about time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.analysis.advice import gradients_dominate, trade_off
from experiments.analysis.plans import plan_groups
from experiments.analysis.selection import completed
from experiments.names import AXES, CASE, HOME_ENGINE
from experiments.text import counted, joined, lowered, percent
from profiler.units import human_bytes

POINT = [*CASE, *AXES]


@dataclass(frozen=True)
class Lesson:
    """A lesson: what it is about, its numbers, and the figures that show it."""

    title: str
    sentences: tuple[str, ...]
    figures: tuple[str, ...]


def lessons_of(rows: pd.DataFrame) -> list[Lesson]:
    """Return the lessons that the rows teach, in the exercise's order."""
    ok = completed(rows)
    ok = ok[ok["engine"] == HOME_ENGINE]
    whole = ok[ok["micro_batches"] == 1]
    found = (
        Lesson("Switch gradients off where none is needed", tuple(_no_grad(whole)), ("timelines",)),
        Lesson(
            "Freeze what needs no gradient",
            (*_freezing(whole), *_layers(whole)),
            ("activations", "layers"),
        ),
        Lesson(
            "Use smaller batches, and accumulate their gradients",
            (*_batches(whole), *_slices(ok)),
            ("regimes", "micro_batches"),
        ),
        Lesson(
            "Drop activations and recompute them",
            tuple(_checkpointing(whole)),
            ("frontier", "schedules"),
        ),
    )
    return [lesson for lesson in found if lesson.sentences]


def _at(rows: pd.DataFrame, modes: Iterable[str], *by: str) -> list[dict[str, Any]]:
    """Return the rows of several modes at one shape that has them all; none without such a shape.

    It is the shape with the widest batch for its width, then the deepest. `by` are columns whose
    first value at that shape is taken.
    """
    wanted = list(modes)
    mine = rows[rows["mode"].isin(wanted)].drop_duplicates([*POINT, "mode", *by])
    if mine.empty:
        return []
    counts = mine.groupby(POINT, sort=False)["mode"].nunique().reset_index()
    counts = counts[counts["mode"] == len(wanted)]
    if counts.empty:
        return []
    best = (
        counts.assign(ratio=counts["b"] / counts["d"])
        .sort_values(["ratio", "n"], kind="stable", ascending=False)
        .iloc[0]
    )
    here = mine[(mine[POINT] == best[POINT]).all(axis=1)]
    return [here[here["mode"] == mode].iloc[0].to_dict() for mode in wanted]


def _size(row: dict[str, Any]) -> str:
    return f"n = {row['n']}, d = {row['d']}, b = {row['b']}"


def _shape(row: dict[str, Any]) -> str:
    return f"{row['activation']}, {_size(row)}"


def _peak(row: dict[str, Any]) -> str:
    return human_bytes(int(row["peak_bytes"]))


def _no_grad(rows: pd.DataFrame) -> list[str]:
    """Compare no-grad with forward at one shape, and along depth."""
    found = _at(rows, ("no_grad", "forward"))
    if not found:
        return []
    off, on = found
    work = (
        "the same operations"
        if off["ops"] == on["ops"]
        else f"{percent(on['ops'], off['ops'])} of the operations"
    )
    times = int(on["peak_bytes"]) / int(off["peak_bytes"])
    sentences = [
        f"With {work}, a forward pass that keeps what gradients would read peaks at {_peak(on)}, "
        f"one that keeps nothing at {_peak(off)}: {times:.3g}× lower ({_shape(off)})."
    ]
    line = rows[
        (rows["mode"] == "no_grad")
        & (rows[[*CASE, "d", "b"]] == pd.Series(off)[[*CASE, "d", "b"]]).all(axis=1)
        & (rows["n"] >= 2)
    ]
    levels = line.drop_duplicates("n")
    if len(levels) > 1 and levels["peak_bytes"].nunique() == 1:
        sentences.append(
            f"Without gradients the peak is the same from n = {levels['n'].min()} to "
            f"n = {levels['n'].max()}: depth costs no memory."
        )
    return sentences


def _freezing(rows: pd.DataFrame) -> list[str]:
    """Compare W_1 only with all weights, one sentence per activation."""
    sentences = []
    for activation in dict.fromkeys(rows["activation"]):
        if activation not in ("tanh", "gelu"):
            continue
        found = _at(
            rows[(rows["activation"] == activation) & (rows["loss"] == "sum")], ("full", "w1_only")
        )
        if not found:
            continue
        full, first = found
        kept = [int(row["peak_activation_bytes"]) for row in (full, first)]
        saved = int(full["peak_bytes"]) - int(first["peak_bytes"])
        change = f"{'−' if saved >= 0 else '+'}{percent(abs(saved), full['peak_bytes'])}"
        sentences.append(
            f"With {activation}, computing only W₁’s gradient takes "
            f"{percent(first['ops'], full['ops'])} of the "
            f"operations of all weights; the peak goes from {_peak(full)} to {_peak(first)} "
            f"({change}), of which activations go from {human_bytes(kept[0])} to "
            f"{human_bytes(kept[1])} ({_size(full)})."
        )
    if len(sentences) == 2:
        sentences.append(
            "Freezing saves the frozen layers’ weight gradients and the inputs that only those "
            "would read; what every σ′ on the way down to W₁ reads is kept anyway. The gradient of "
            "tanh reads the value that the next layer needs in any case, that of gelu one of its "
            "own."
        )
    return sentences


def _layers(rows: pd.DataFrame) -> list[str]:
    """Compare the last layer only with the first, one sentence per activation."""
    only = rows[(rows["mode"] == "only") & rows["wrt"].str.fullmatch(r"W_\d+")]
    sentences = []
    for _, group in only.groupby("activation", sort=False):
        deepest = group[group["n"] == group["n"].max()]
        first = deepest.iloc[0]
        same = deepest[(deepest[POINT] == first[POINT]).all(axis=1)]
        by_layer = same.assign(j=same["wrt"].str.removeprefix("W_").astype(int)).sort_values("j")
        low, high = by_layer.iloc[0], by_layer.iloc[-1]
        if low["j"] == high["j"]:
            continue
        names = [f"W{lowered(int(row['j']))}" for row in (low, high)]
        ops, peak = percent(high["ops"], low["ops"]), percent(high["peak_bytes"], low["peak_bytes"])
        sentences.append(
            f"With {first['activation']}, the gradient of the last layer only, {names[1]}, needs "
            f"{ops} of {names[0]}’s operations and {peak} of its peak "
            f"({_size(first.to_dict())}): freeze from the data upwards."
        )
    return sentences


def _batches(rows: pd.DataFrame) -> list[str]:
    """Compare the peaks of a full step at the widest and the narrowest batch of one network."""
    full = rows[rows["mode"] == "full"].drop_duplicates(POINT)
    keys = [*CASE, "n", "d"]
    lines = full.groupby(keys, sort=False)["b"].nunique().reset_index()
    lines = lines.sort_values(["b", "n", "d"], ascending=[False, False, True], kind="stable")
    if lines.empty or lines.iloc[0]["b"] < 2:
        return []
    best = full[(full[keys] == lines.iloc[0][keys]).all(axis=1)]
    wide, narrow = best.loc[best["b"].idxmax()].to_dict(), best.loc[best["b"].idxmin()].to_dict()
    times = wide["b"] / narrow["b"], int(wide["peak_bytes"]) / int(narrow["peak_bytes"])
    return [
        f"From b = {wide['b']} to b = {narrow['b']} examples per step, {times[0]:.3g}× fewer, the "
        f"peak falls from {_peak(wide)} to {_peak(narrow)}, {times[1]:.2g}× lower "
        f"({wide['activation']}, n = {wide['n']}, d = {wide['d']}). The weight gradients, "
        f"{human_bytes(int(narrow['parameter_bytes']))}, do not shrink with the batch."
    ]


def _slices(rows: pd.DataFrame) -> list[str]:
    """Compare a step on the whole batch with the same batch in slices."""
    full = rows[(rows["mode"] == "full")].drop_duplicates([*POINT, "micro_batches"])
    sliced = full.loc[full["micro_batches"] > 1, POINT].drop_duplicates()
    for _, line in full.merge(sliced, on=POINT).groupby(POINT, sort=False):
        whole, cut = line[line["micro_batches"] == 1], line[line["micro_batches"] > 1]
        if whole.empty or cut.empty:
            continue
        before, after = (
            whole.iloc[0].to_dict(),
            cut.loc[cut["peak_bytes"].astype(int).idxmin()].to_dict(),
        )
        more = int(after["ops"]) - int(before["ops"])
        cost = (
            "no more operations"
            if not more
            else f"{counted(abs(more), 'operation')} {'more' if more > 0 else 'fewer'}"
        )
        return [
            f"The same batch in {counted(int(after['micro_batches']), 'slice')} with accumulated "
            f"gradients: the peak goes from {_peak(before)} to {_peak(after)}, for {cost} "
            f"({_shape(before)}); a sum over slices is the sum over the batch."
        ]
    return []


def _checkpointing(rows: pd.DataFrame) -> list[str]:
    """Return what the best plans save, and the shapes where no plan saves anything."""
    groups = plan_groups(rows)
    saving = [group for group in groups if group.best]
    sentences = []
    if saving:
        group = max(saving, key=lambda one: 1 - one.best[0].peak_bytes / one.full.peak_bytes)
        full, plans = group.full, [group.best[0]]
        middle = trade_off(group)
        plans += [middle] if middle is not None and middle != plans[0] else []
        facts = [
            f"{plan.words} peaks at {human_bytes(plan.peak_bytes)} for "
            f"{percent(plan.ops - full.ops, full.ops)} more operations"
            for plan in plans
        ]
        sentences.append(
            f"Keeping everything peaks at {human_bytes(full.peak_bytes)}; {joined(facts)} "
            f"({group.case['activation']}, {group.shape})."
        )
    idle = [group for group in groups if not group.best]
    if idle:
        names = [group.shape for group in idle]
        shown = names if len(names) <= 3 else [*names[:3], f"{len(names) - 3} more"]
        why = (
            ", because weight gradients dominate it"
            if all(gradients_dominate(group) for group in idle)
            else ""
        )
        sentences.append(
            f"At {counted(len(idle), 'shape')} no plan lowers the peak{why}: {'; '.join(shown)}."
        )
    return sentences
