"""Live memory through one step of every mode, on one shape: the rows of timelines.csv.

A step of a timeline runs as a point does: not at all where it would not fit, in a process of its
own where it is large or has a time limit.
What goes wrong with one costs that one alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from autodiff.errors import TapemeasureError
from experiments.errors import is_the_launchers, one_line
from experiments.grid.config import Study, SweepConfig
from experiments.grid.points import points_of_study
from experiments.measuring.isolated import ChildError, in_child
from experiments.measuring.point import (
    given_bytes,
    has_own_process,
    network_of,
    plan_of,
    predicted_peak_bytes,
)
from experiments.names import TIMELINE
from experiments.results.point import Point
from profiler.available import available_bytes
from profiler.graphs import profile_schedule

log = logging.getLogger("tapemeasure")


def timelines_of(config: SweepConfig) -> pd.DataFrame:
    """One row an event for each mode and planner of the timeline; empty without one.

    A step that would not fit into the available memory is predicted, without times; one that fails
    is left out, and the log says why.
    """
    frames = []
    for point in [] if config.timeline is None else _points(config, config.timeline):
        try:
            frames.append(_timeline_of(point, config.timeout_s))
        except Exception as error:  # a planner may be the user's own
            if is_the_launchers(error):
                raise
            # Where a point is refused, results.csv has a row with the reason.
            if isinstance(error, ChildError) or not isinstance(error, TapemeasureError):
                log.warning("the timeline lacks %s: %s", point, one_line(error))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(TIMELINE))


def _points(config: SweepConfig, study: Study) -> Iterator[Point]:
    modes = tuple(mode for mode in study.modes if mode != "only")
    plain = replace(study, modes=modes, engines=("autodiff",), micro_batches=(1,))
    for point in points_of_study(config, plain):
        yield replace(point, repeats=1, audit="none", measure_process=False)


def _timeline_of(point: Point, timeout_s: float | None) -> pd.DataFrame:
    """Return the timeline of a point, measured in a child process where the point would be."""
    if not has_own_process(point, timeout_s):
        return _timeline(point)
    frame = in_child(_timeline, point, point, timeout_s=timeout_s)
    assert isinstance(frame, pd.DataFrame)
    return frame


def _timeline(point: Point) -> pd.DataFrame:
    network = network_of(point)
    program, schedule = plan_of(point, network)
    needed = predicted_peak_bytes(program, schedule) + given_bytes(program)
    execute = point.execute and needed <= available_bytes()
    if point.execute and not execute:
        log.warning(
            "the timeline of %s is made from shapes alone: it would not fit into memory", point
        )
    if execute:
        network.draw(device=point.device)
    profile = profile_schedule(program, schedule, execute=execute)
    # A row has a column `activation` already, so the columns of roles say that they are bytes.
    frame = profile.timeline().rename(
        columns={role: f"live_{role}_bytes" for role in profile.ledger.roles}
    )
    for column in reversed(TIMELINE):
        frame.insert(0, column, getattr(point, column))
    return frame
