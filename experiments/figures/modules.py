"""A module's step in two pictures: what is alive through the step, on top of what exists before it; and which module's calls made what
is alive at the peak."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.figures import axes as scales
from experiments.figures.style import (
    INK,
    MUTED,
    NOTE_SIZE,
    WIDTH,
    Drawing,
    Look,
    finish,
    new_figure,
    text_width,
)
from experiments.figures.timelines import ROLES as LIVE_ROLES, step_axis
from profiler.measurement import Profile
from profiler.units import human_bytes

STEP_CAPTION = (
    "How to read it: time runs to the right op by op, the height is all that is held right after an op. What exists before the step is at the "
    "bottom; above it activations pile up in forward and are let go in backward. The triangle marks the highest point, which has to fit."
)
MODULES_CAPTION = (
    "How to read it: every buffer that is alive at the peak belongs to the module whose call made it (of a buffer made in backward, to the "
    "module whose gradient it serves)."
)
ROLES = {
    "parameter": ("parameters", Look("#6f6f6f", "", "")),
    "optimizer_state": ("optimizer state", Look("#c4c4c4", "", "...")),
    "buffer": ("buffers", Look("#f3ecd8", "", "\\\\\\")),
    "input": ("inputs", Look("#e8c468", "", "")),
    **LIVE_ROLES,
}
PHASE_NAMES = {
    "forward": "forward",
    "backward": "backward",
    "optimizer": "update",
    "recompute": "recompute",
}
MOST_COLUMNS, MOST_BARS = 480, 16
_LONGEST_NAME = 38
NO_MODULE = "in no submodule (the loss, say)"


def draw_step(profile: Profile, memory_bytes: int | None) -> Drawing | None:
    """Live bytes by role through the step, stacked on what existed before; the memory as a line where there is one. None without ops."""
    if not profile.ledger.phases:
        return None
    roles = profile.ledger.roles
    given = np.array([profile.given_bytes.get(role, 0) for role in roles], dtype=np.int64)
    held, steps = _columns(profile.ledger.live_by_role + given)
    count, total = len(profile.ledger.phases), held.sum(axis=1)
    highest = (
        float(max(int(total.max()), memory_bytes or 0))
        if memory_bytes and memory_bytes < 2 * total.max()
        else float(total.max())
    )
    figure = new_figure(4.2)
    axes = figure.subplots()
    edges = np.append(steps[:, 0], count)
    floor = np.zeros(len(edges))
    handles: list[Any] = []
    for role, (name, look) in ROLES.items():
        column = held[:, roles.index(role)].astype(float)
        if not column.any():
            continue
        ceiling = floor + np.append(column, column[-1])
        style: dict[str, Any] = {
            "facecolor": look.colour,
            "hatch": look.dash,
            "edgecolor": INK,
            "linewidth": 0.35,
        }
        axes.fill_between(edges, floor, ceiling, step="post", zorder=2, **style)
        handles.append(Patch(label=name, **{**style, "linewidth": 0.5}))
        floor = ceiling
    at = int(total.argmax())
    peak = int(total[at])
    axes.plot(
        [steps[at, 1] + 0.5],
        [peak + highest * 0.022],
        marker="v",
        color=INK,
        markersize=7,
        linestyle="none",
        zorder=6,
        clip_on=False,
    )
    handles.append(
        Line2D(
            [], [], linestyle="none", marker="v", color=INK, label=f"the most: {human_bytes(peak)}"
        )
    )
    if memory_bytes is not None and memory_bytes <= highest:
        axes.axhline(memory_bytes, color=INK, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=5)
        handles.append(
            Line2D(
                [],
                [],
                color=INK,
                linewidth=1.2,
                linestyle=(0, (1, 1.5)),
                label=f"memory: {human_bytes(memory_bytes)}",
            )
        )
    _phases(axes, profile.ledger.phases)
    step_axis(axes, count, WIDTH - 1.2)
    scales.linear_byte_axis(axes, highest * 1.14, "bytes held")
    axes.set_xlabel("op of the step")
    axes.grid(visible=False, axis="x")
    title = f"A step holds {human_bytes(peak)} at most, {human_bytes(int(given.sum()))} of it from before the step"
    note = (
        ""
        if len(steps) == count
        else f"{count:,} ops in {len(steps)} columns, each as high as the highest of its ops"
    )
    return Drawing(title, STEP_CAPTION, finish(figure, title, note, handles))


def _columns(live: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most so many columns, each the op of its range that holds the most: the bytes by role, and (first op, that op) of each."""
    count = len(live)
    starts = np.unique(np.linspace(0, count, min(count, MOST_COLUMNS) + 1).astype(int)[:-1])
    total = live.sum(axis=1)
    highest = [
        int(low + total[low:high].argmax())
        for low, high in zip(starts, [*starts[1:], count], strict=True)
    ]
    return live[highest], np.stack([starts, np.array(highest)], axis=1)


def _phases(axes: Any, phases: tuple[str, ...]) -> None:
    """The name of each phase above the ops where it begins to stay, as far as there is room."""
    count, at = len(phases), 0
    runs: list[tuple[int, int, str]] = []
    main = [phase if phase != "recompute" else "backward" for phase in phases]
    for step in range(1, count + 1):
        if step == count or main[step] != main[at]:
            runs.append((at, step, main[at]))
            at = step
    for start, end, phase in runs:
        if (end - start) / count < 0.08:
            continue
        if start:
            axes.axvline(start, color=INK, linewidth=0.9, zorder=3)
        axes.text(
            (start + end) / 2,
            1.0,
            PHASE_NAMES.get(phase, phase),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            color=MUTED,
        )


def draw_modules(profile: Profile, depth: int) -> Drawing | None:
    """What is alive at the peak by the module whose call made it, modules deeper than `depth` with the one above; None where nothing is alive."""
    alive = profile.alive_at_peak()
    if alive.empty:
        return None
    cut = alive["module"].map(lambda name: ".".join(name.split(".")[:depth]) or NO_MODULE)
    table = alive.assign(group=cut).pivot_table(
        index="group", columns="role", values="bytes", aggfunc="sum", fill_value=0, sort=False
    )
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    if len(table) > MOST_BARS:
        rest = table.iloc[MOST_BARS - 1 :].sum().rename(f"{len(table) - MOST_BARS + 1} others")
        table = pd.concat([table.iloc[: MOST_BARS - 1], rest.to_frame().T])
    figure = new_figure(0.5 + 0.27 * len(table))
    axes = figure.subplots()
    totals = table.sum(axis=1).astype(float)
    left = np.zeros(len(table))
    handles: list[Any] = []
    for role, (name, look) in ROLES.items():
        if role not in table or not table[role].any():
            continue
        style: dict[str, Any] = {
            "facecolor": look.colour,
            "hatch": look.dash,
            "edgecolor": INK,
            "linewidth": 0.5,
        }
        axes.barh(
            range(len(table)), table[role].astype(float), left=left, height=0.72, zorder=2, **style
        )
        handles.append(Patch(label=name, **style))
        left = left + table[role].to_numpy(dtype=float)
    highest = float(totals.max())
    for place, total in enumerate(totals):
        axes.text(
            total + highest * 0.01,
            place,
            human_bytes(total),
            va="center",
            ha="left",
            size=NOTE_SIZE,
            color=INK,
        )
    room = text_width("0000 GiB", NOTE_SIZE) / ((WIDTH - 3.2) * 72)
    scales.linear_byte_axis(
        axes,
        highest * (1.03 + room),
        "bytes alive at the peak, beside what existed before",
        which="x",
    )
    axes.set_yticks(range(len(table)), labels=[_shortened(str(name)) for name in table.index])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    title = f"The greatest share of the peak, {human_bytes(totals.iloc[0])} of {human_bytes(totals.sum())}: {_shortened(str(table.index[0]))}"
    return Drawing(title, MODULES_CAPTION, finish(figure, title, "", handles))


def _shortened(name: str) -> str:
    """A module's name, its beginning left out where it is long."""
    return name if len(name) <= _LONGEST_NAME else "…" + name[-_LONGEST_NAME + 1 :]
