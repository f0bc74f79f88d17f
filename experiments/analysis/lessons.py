"""The exercise's four lessons with measured numbers: no gradients, freezing, smaller batches, checkpointing. From rows to sentences.

Each sentence compares rows of one network at one shape, the deepest with the widest batch for its width that all of them have; a lesson without such
rows is left out. Bound: our engine's rows; it says nothing of seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.analysis.advice import exchange, weights_rule
from experiments.analysis.plans import plan_groups
from experiments.text import counted, joined, lowered, percent
from profiler.units import human_bytes

CASE = ["network", "activation", "loss", "dtype"]
SHAPE = ["n", "d", "b"]


@dataclass(frozen=True)
class Lesson:
    """A lesson: what it is about, what was measured, and the figures that show it."""

    title: str
    sentences: tuple[str, ...]
    figures: tuple[str, ...]


def lessons_of(rows: pd.DataFrame) -> list[Lesson]:
    """The lessons that the rows teach, in the exercise's order."""
    ok = rows[(rows["status"] == "ok") & (rows["engine"] == "autodiff")]
    whole = ok[ok["micro_batches"] == 1]
    found = (
        Lesson("Switch gradients off where none is wanted", tuple(_no_grad(whole)), ("timelines",)),
        Lesson(
            "Freeze what needs no gradient",
            (*_freezing(whole), *_layers(whole)),
            ("activations", "layers"),
        ),
        Lesson(
            "Take smaller batches, and add up their gradients",
            (*_batches(whole), *_slices(ok)),
            ("regimes", "micro_batches"),
        ),
        Lesson(
            "Drop activations and compute them again",
            tuple(_checkpointing(whole)),
            ("frontier", "schedules"),
        ),
    )
    return [lesson for lesson in found if lesson.sentences]


def _at(rows: pd.DataFrame, modes: Iterable[str], *by: str) -> list[dict[str, Any]]:
    """The rows of several modes at one shape that has them all, the one of the widest batch for its width and then the deepest; else none.

    `by` are columns whose first value at that shape is taken.
    """
    wanted = list(modes)
    mine = rows[rows["mode"].isin(wanted)].drop_duplicates([*CASE, *SHAPE, "mode", *by])
    if mine.empty:
        return []
    counts = mine.groupby([*CASE, *SHAPE], sort=False)["mode"].nunique().reset_index()
    counts = counts[counts["mode"] == len(wanted)]
    if counts.empty:
        return []
    best = (
        counts.assign(ratio=counts["b"] / counts["d"])
        .sort_values(["ratio", "n"], kind="stable", ascending=False)
        .iloc[0]
    )
    here = mine[(mine[[*CASE, *SHAPE]] == best[[*CASE, *SHAPE]]).all(axis=1)]
    return [here[here["mode"] == mode].iloc[0].to_dict() for mode in wanted]


def _size(row: dict[str, Any]) -> str:
    return f"n = {row['n']}, d = {row['d']}, b = {row['b']}"


def _shape(row: dict[str, Any]) -> str:
    return f"{row['activation']}, {_size(row)}"


def _peak(row: dict[str, Any]) -> str:
    return human_bytes(int(row["peak_bytes"]))


def _no_grad(rows: pd.DataFrame) -> list[str]:
    """No-grad beside forward at one shape, and along depth."""
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
        f"With {work}, a forward pass that keeps what gradients would read peaks at {_peak(on)}, one that keeps nothing at {_peak(off)}: "
        f"{times:.3g} times less ({_shape(off)})."
    ]
    line = rows[
        (rows["mode"] == "no_grad")
        & (rows[[*CASE, "d", "b"]] == pd.Series(off)[[*CASE, "d", "b"]]).all(axis=1)
        & (rows["n"] >= 2)
    ]
    levels = line.drop_duplicates("n")
    if len(levels) > 1 and levels["peak_bytes"].nunique() == 1:
        sentences.append(
            f"Without gradients the peak is the same from n = {levels['n'].min()} to n = {levels['n'].max()}: depth costs no memory."
        )
    return sentences


def _freezing(rows: pd.DataFrame) -> list[str]:
    """W_1 alone beside all weights, one sentence an activation."""
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
        change = f"{percent(abs(saved), full['peak_bytes'])} {'less' if saved >= 0 else 'more'}"
        sentences.append(
            f"With {activation}, W₁ alone takes {percent(first['ops'], full['ops'])} of the operations of all weights; the peak goes from {_peak(full)} to "
            f"{_peak(first)}, {change}, of which activations from {human_bytes(kept[0])} to {human_bytes(kept[1])} ({_size(full)})."
        )
    if len(sentences) == 2:
        sentences.append(
            "Freezing saves the frozen layers’ weight gradients and the inputs that only those would read; what every σ′ on the way down to W₁ reads is "
            "kept all the same. The gradient of tanh reads the value that the next layer needs anyway, that of gelu one of its own."
        )
    return sentences


def _layers(rows: pd.DataFrame) -> list[str]:
    """The last layer alone beside the first, one sentence an activation."""
    only = rows[(rows["mode"] == "only") & rows["wrt"].str.fullmatch(r"W_\d+")]
    sentences = []
    for _, group in only.groupby("activation", sort=False):
        deepest = group[group["n"] == group["n"].max()]
        first = deepest.iloc[0]
        same = deepest[(deepest[[*CASE, *SHAPE]] == first[[*CASE, *SHAPE]]).all(axis=1)]
        by_layer = same.assign(j=same["wrt"].str.removeprefix("W_").astype(int)).sort_values("j")
        low, high = by_layer.iloc[0], by_layer.iloc[-1]
        if low["j"] == high["j"]:
            continue
        names = [f"W{lowered(int(row['j']))}" for row in (low, high)]
        ops, peak = percent(high["ops"], low["ops"]), percent(high["peak_bytes"], low["peak_bytes"])
        sentences.append(
            f"With {first['activation']}, the last layer alone, {names[1]}, takes {ops} of {names[0]}’s operations and {peak} of its peak "
            f"({_size(first.to_dict())}): freeze from the data upwards."
        )
    return sentences


def _batches(rows: pd.DataFrame) -> list[str]:
    """The peak of a full step at the widest and at the narrowest batch of one network."""
    full = rows[rows["mode"] == "full"].drop_duplicates([*CASE, *SHAPE])
    best: pd.DataFrame | None = None
    for _, line in full.groupby([*CASE, "n", "d"], sort=False):
        score = (line["b"].nunique(), line["n"].iloc[0], -line["d"].iloc[0])
        if best is None or score > (best["b"].nunique(), best["n"].iloc[0], -best["d"].iloc[0]):
            best = line
    if best is None or best["b"].nunique() < 2:
        return []
    wide, narrow = best.loc[best["b"].idxmax()].to_dict(), best.loc[best["b"].idxmin()].to_dict()
    times = wide["b"] / narrow["b"], int(wide["peak_bytes"]) / int(narrow["peak_bytes"])
    return [
        f"From b = {wide['b']} to b = {narrow['b']} examples a step, {times[0]:.3g} times fewer, the peak falls from {_peak(wide)} to {_peak(narrow)}, "
        f"{times[1]:.2g} times ({wide['activation']}, n = {wide['n']}, d = {wide['d']}). The weight gradients, "
        f"{human_bytes(int(narrow['parameter_bytes']))}, do not shrink with the batch."
    ]


def _slices(rows: pd.DataFrame) -> list[str]:
    """Gradient accumulation: the whole batch beside its slices."""
    full = rows[(rows["mode"] == "full")].drop_duplicates([*CASE, *SHAPE, "micro_batches"])
    for _, line in full.groupby([*CASE, *SHAPE], sort=False):
        whole, cut = line[line["micro_batches"] == 1], line[line["micro_batches"] > 1]
        if whole.empty or cut.empty:
            continue
        before, after = (
            whole.iloc[0].to_dict(),
            cut.loc[cut["peak_bytes"].astype(int).idxmin()].to_dict(),
        )
        more = int(after["ops"]) - int(before["ops"])
        cost = (
            "not one operation more"
            if not more
            else f"{counted(abs(more), 'operation')} {'more' if more > 0 else 'fewer'}"
        )
        return [
            f"The same batch in {counted(int(after['micro_batches']), 'slice')}, the gradients added up: from {_peak(before)} to {_peak(after)}, for {cost} "
            f"({_shape(before)}); a sum over slices is the sum over the batch."
        ]
    return []


def _checkpointing(rows: pd.DataFrame) -> list[str]:
    """What the best plans save where something can be saved, and the shapes where nothing can."""
    groups = plan_groups(rows)
    saving = [group for group in groups if group.best]
    sentences = []
    if saving:
        group = max(saving, key=lambda one: 1 - one.best[0].peak_bytes / one.full.peak_bytes)
        full, plans = group.full, [group.best[0]]
        middle = exchange(group)
        plans += [middle] if middle is not None and middle != plans[0] else []
        facts = [
            f"{plan.words} peaks at {human_bytes(plan.peak_bytes)} for {percent(plan.ops - full.ops, full.ops)} more operations"
            for plan in plans
        ]
        sentences.append(
            f"Keeping everything peaks at {human_bytes(full.peak_bytes)}; {joined(facts)} ({group.case['activation']}, {group.shape})."
        )
    idle = [group for group in groups if not group.best]
    if idle:
        names = [group.shape for group in idle]
        shown = names if len(names) <= 3 else [*names[:3], f"{len(names) - 3} more"]
        why = (
            ", since the weight gradients make it"
            if all(weights_rule(group) for group in idle)
            else ""
        )
        sentences.append(
            f"At {counted(len(idle), 'shape')} no plan lowers the peak{why}: {'; '.join(shown)}."
        )
    return sentences
