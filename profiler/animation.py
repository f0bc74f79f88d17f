"""A schedule as a moving picture: what is computed when, what is kept, and the bytes alive."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autodiff.checkpointing.parse import Planner
from autodiff.errors import GraphError
from autodiff.program import Program
from autodiff.schedule import Schedule
from profiler.graphs import profile, profile_schedule
from profiler.measurement import Profile
from profiler.plotting import ROLE_COLOURS, draw_live_bytes, figure_with_axes

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.artist import Artist

MOST_FRAMES = 150
"""Frames of a film; a schedule of more steps shows several steps a frame."""


@dataclass(frozen=True, eq=False)
class Animation:
    """A schedule that a notebook shows as the interactive timeline, and that can be saved."""

    profile: Profile
    order: np.ndarray

    def _repr_html_(self) -> str:
        return self.profile.show(self.profile.planner).html

    def save(self, path: str | Path, frames_per_second: int = 8) -> Path:
        """Write a .gif, an .mp4 (which needs ffmpeg) or a page (.html); return its path.

        The page is the interactive timeline. Raises GraphError for another suffix, for a schedule
        without steps, and for an .mp4 where there is no ffmpeg.
        """
        from matplotlib.animation import writers

        written = Path(path)
        if written.suffix == ".html":
            return self.profile.show(self.profile.planner).save(written)
        writer = {".gif": "pillow", ".mp4": "ffmpeg"}.get(written.suffix)
        if writer is None:
            raise GraphError(
                f"cannot write an animation as {written.name}; expected a name that ends in .gif, "
                ".mp4 or .html"
            )
        if not writers.is_available(writer):
            raise GraphError(
                f"no ffmpeg to write {written.name} with; expected the program ffmpeg on the path; "
                "install it, or save a .gif or .html"
            )
        self.film.save(str(written), writer=writers[writer](fps=frames_per_second), dpi=100)
        return written

    @cached_property
    def film(self) -> FuncAnimation:
        """The animation of matplotlib: frame after frame the future is uncovered.

        Above, a row is an instruction, a mark a step that computes it, a bar the life of what it
        wrote, in the colour of its role. Below are the live bytes. Raises GraphError for a schedule
        without steps.
        """
        from matplotlib.animation import FuncAnimation

        count = len(self.order)
        if not count:
            raise GraphError(
                "the schedule has no steps; expected at least one; give a program that computes "
                "something"
            )
        figure, axes = figure_with_axes(height=6.0)
        axes.remove()
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        ledger = self.profile.ledger
        colours = [ROLE_COLOURS.get(role, (role, "#b8b8b8"))[1] for role in ledger.roles]
        above.hlines(
            self.order[ledger.born], ledger.born, np.minimum(ledger.dies + 1, count),
            colors=[colours[role] for role in ledger.role], linewidth=2.5,
        )  # fmt: skip
        above.plot(np.arange(count) + 0.5, self.order, "|", color="black", markersize=4)
        above.set(ylabel="instruction", ylim=(-1, int(self.order.max()) + 1))
        above.set_title(f"{self.profile.planner}: {count:,} steps", loc="left")
        draw_live_bytes(below, ledger)
        covers = [
            # Above all that is drawn (2) and below the frame (2.5).
            axes.axvspan(0, count, facecolor="white", edgecolor="none", zorder=2.4, gid="future")
            for axes in (above, below)
        ]
        ends = np.unique(np.linspace(0, count, min(count, MOST_FRAMES) + 1).astype(int)[1:])

        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not in every frame

        def uncover(frame: int) -> list[Artist]:
            for cover in covers:
                cover.set_x(frame)
                cover.set_width(count - frame)
            return [*covers]

        return FuncAnimation(figure, uncover, frames=ends.tolist(), blit=False, repeat=False)


def animate_schedule(program: Program, plan: Schedule | Planner | str | None = None) -> Animation:
    """Return the animation of a schedule of a program, or of what a planner makes of it.

    Nothing is run: bytes are read from shapes. Without a plan everything is kept.
    """
    if isinstance(plan, Schedule):
        measured = profile_schedule(program, plan, execute=False)
    else:
        measured = profile(program, planner=plan, execute=False)
    assert measured.recording is not None
    return Animation(measured, np.asarray(measured.recording.schedule.order))
