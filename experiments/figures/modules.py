"""A module's step in two pictures: what is alive through it, and whose buffers are at the peak."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
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
from profiler.pytorch.notes import OPTIMIZER
from profiler.units import human_bytes

STEP_CAPTION = (
    "How to read it: time runs to the right op by op, the height is all that is alive right after "
    "an "
    "op. What exists before the step is at the bottom; above it activations pile up in forward and "
    "are freed in backward. The triangle marks the highest point, which has to fit."
)
MODULES_CAPTION = (
    "How to read it: every buffer that is alive at the peak belongs to the module whose call "
    "allocated it (a buffer allocated in backward to the module whose gradient it serves)."
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
UPDATE_SHARE = 0.25
_LONGEST_NAME = 38
NO_MODULE = "in no submodule (such as the loss)"


def draw_step(profile: Profile, memory_bytes: int | None) -> Drawing | None:
    """Draw live bytes by role through the step, on top of what existed before; None without ops.

    The memory, where there is one, is a line.
    """
    if not profile.ledger.phases:
        return None
    roles = profile.ledger.roles
    given = np.array([profile.given_bytes.get(role, 0) for role in roles], dtype=np.int64)
    held, steps = _columns(profile.ledger.live_by_role + given)
    count, total = len(profile.ledger.phases), held.sum(axis=1)
    at = int(total.argmax())
    peak = int(total[at])
    is_near = memory_bytes is not None and memory_bytes < 2 * peak
    highest = float(max(peak, memory_bytes or 0)) if is_near else float(peak)
    figure = new_figure(4.2)
    axes = figure.subplots()
    by_role = {role: held[:, roles.index(role)].astype(float) for role in ROLES}
    places = _places(profile.ledger.phases)
    handles = _areas(axes, places[np.append(steps[:, 0], count)], by_role)
    triangle: dict[str, Any] = {"linestyle": "none", "marker": "v", "color": INK}
    middle = places[steps[at, 1] : steps[at, 1] + 2].mean()
    axes.plot([middle], [peak + highest * 0.022], markersize=7, zorder=6, clip_on=False, **triangle)
    handles.append(Line2D([], [], label=f"peak: {human_bytes(peak)}", **triangle))
    if memory_bytes is not None and memory_bytes <= highest:
        line: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (1, 1.5))}
        axes.axhline(memory_bytes, zorder=5, **line)
        handles.append(Line2D([], [], label=f"memory: {human_bytes(memory_bytes)}", **line))
    _phases(axes, profile.ledger.phases, places)
    _step_axis(axes, places)
    scales.linear_byte_axis(axes, highest * 1.14, "live bytes")
    axes.set_xlabel("op of the step")
    axes.grid(visible=False, axis="x")
    before = human_bytes(int(given.sum()))
    title = f"A step needs at most {human_bytes(peak)}, {before} of it from before the step"
    note = f"{count:,} ops in {len(steps)} columns, each as high as the highest of its ops"
    note = "" if len(steps) == count else note
    if places[-1] < count:
        note += f"{' · ' if note else ''}the ops of the update are drawn narrower than the others"
    return Drawing(title, STEP_CAPTION, finish(figure, title, note, handles))


def _style(look: Look) -> dict[str, Any]:
    """Return how an area or a bar of a role is filled."""
    return {"facecolor": look.colour, "hatch": look.dash, "edgecolor": INK, "linewidth": 0.5}


def _areas(axes: Axes, edges: np.ndarray, by_role: dict[str, np.ndarray]) -> list[Any]:
    """Draw one area per role, each on the one before; return the legend's entries."""
    floor, handles = np.zeros(len(edges)), []
    for role, (name, look) in ROLES.items():
        column = by_role[role]
        if column.any():
            ceiling = floor + np.append(column, column[-1])
            style = {**_style(look), "linewidth": 0.35}
            axes.fill_between(edges, floor, ceiling, step="post", zorder=2, **style)
            handles.append(Patch(label=name, **_style(look)))
            floor = ceiling
    return handles


def _columns(live: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `MOST_COLUMNS` columns, each the op of its range with most live bytes.

    That is the bytes by role, and (first op, that op) of each.
    """
    count = len(live)
    starts = np.unique(np.linspace(0, count, min(count, MOST_COLUMNS) + 1).astype(int)[:-1])
    total = live.sum(axis=1)
    highest = [
        int(low + total[low:high].argmax())
        for low, high in zip(starts, [*starts[1:], count], strict=True)
    ]
    return live[highest], np.stack([starts, np.array(highest)], axis=1)


def _places(phases: tuple[str, ...]) -> np.ndarray:
    """Return where each op begins and the last one ends, in widths of an op.

    An update is many small ops that look alike: together they get at most `UPDATE_SHARE` of the
    width of all others, so that forward and backward keep their room.
    """
    is_update = np.array([phase == OPTIMIZER for phase in phases])
    others, updates = int((~is_update).sum()), int(is_update.sum())
    narrow = min(1.0, UPDATE_SHARE * others / updates) if updates and others else 1.0
    return np.concatenate([[0.0], np.cumsum(np.where(is_update, narrow, 1.0))])


def _step_axis(axes: Axes, places: np.ndarray) -> None:
    """Ticks at round numbers of ops, where the ops are, as far as there is room for a number."""
    step_axis(axes, int(places[-1]), WIDTH - 1.2)
    apart = float(np.diff(axes.get_xticks()[:2]).sum()) or 1.0
    ticks = [0]
    for op in range(len(places)):
        if op % max(1, int(apart)) == 0 and places[op] - places[ticks[-1]] >= 0.99 * apart:
            ticks.append(op)
    axes.set_xticks(places[ticks], labels=[str(op) for op in ticks])
    axes.set_xlim(0, places[-1])


def _phases(axes: Any, phases: tuple[str, ...], places: np.ndarray) -> None:
    """Write the name of each phase above its ops, as far as there is room."""
    count, at = len(phases), 0
    runs: list[tuple[float, float, str]] = []
    main = [phase if phase != "recompute" else "backward" for phase in phases]
    for step in range(1, count + 1):
        if step == count or main[step] != main[at]:
            runs.append((float(places[at]), float(places[step]), main[at]))
            at = step
    for start, end, phase in runs:
        if (end - start) / places[-1] < 0.08:
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
    """Draw what is alive at the peak by the module whose call allocated it; None without any.

    Modules deeper than `depth` count for the one above.
    """
    alive = profile.alive_at_peak()
    if alive.empty:
        return None
    table = _by_module(alive, depth)
    figure = new_figure(0.5 + 0.27 * len(table))
    axes = figure.subplots()
    totals = table.sum(axis=1).astype(float)
    handles = _bars(axes, table)
    highest = float(totals.max())
    for place, total in enumerate(totals):
        axes.text(
            total + highest * 0.01, place, human_bytes(total), va="center", ha="left",
            size=NOTE_SIZE, color=INK,
        )  # fmt: skip
    room = text_width("0000 GiB", NOTE_SIZE) / ((WIDTH - 3.2) * 72)
    label = "bytes alive at the peak, besides what existed before"
    scales.linear_byte_axis(axes, highest * (1.03 + room), label, which="x")
    axes.set_yticks(range(len(table)), labels=[_shortened(str(name)) for name in table.index])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    share = f"{human_bytes(totals.iloc[0])} of {human_bytes(totals.sum())}"
    title = f"The greatest share of the peak, {share}: {_shortened(str(table.index[0]))}"
    return Drawing(title, MODULES_CAPTION, finish(figure, title, "", handles))


def _by_module(alive: pd.DataFrame, depth: int) -> pd.DataFrame:
    """Return the bytes by module and role, the greatest first, the smallest added up."""
    cut = alive["module"].map(lambda name: ".".join(name.split(".")[:depth]) or NO_MODULE)
    table = alive.assign(group=cut).pivot_table(
        index="group", columns="role", values="bytes", aggfunc="sum", fill_value=0, sort=False
    )
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    if len(table) > MOST_BARS:
        rest = table.iloc[MOST_BARS - 1 :].sum().rename(f"{len(table) - MOST_BARS + 1} others")
        table = pd.concat([table.iloc[: MOST_BARS - 1], rest.to_frame().T])
    return table


def _bars(axes: Axes, table: pd.DataFrame) -> list[Any]:
    """Draw one bar per module, its roles one after another; return the legend's entries."""
    left, handles = np.zeros(len(table)), []
    for role, (name, look) in ROLES.items():
        if role in table and table[role].any():
            widths = table[role].to_numpy(dtype=float)
            axes.barh(range(len(table)), widths, left=left, height=0.72, zorder=2, **_style(look))
            handles.append(Patch(label=name, **_style(look)))
            left = left + widths
    return handles


def _shortened(name: str) -> str:
    """Return a module's name, without its beginning where it is long."""
    return name if len(name) <= _LONGEST_NAME else "…" + name[-_LONGEST_NAME + 1 :]
