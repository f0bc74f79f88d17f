"""Live memory through one step of every mode, on one shape: the rows of timelines.csv."""

from __future__ import annotations

import itertools

import pandas as pd

from autodiff.errors import TapemeasureError
from experiments.config import SweepConfig
from experiments.measure import network_of, plan_of
from experiments.points import Point
from profiler import profile_schedule

GROUP = ["engine", "network", "activation", "loss", "dtype", "n", "d", "b", "mode", "planner"]


def timelines_of(config: SweepConfig) -> pd.DataFrame:
    """One row an event for each mode and planner of the timeline; empty without one."""
    if config.timeline is None:
        return pd.DataFrame(columns=GROUP)
    study = config.timeline
    grid = study.grid
    frames = []
    for activation, loss, n, d, b in itertools.product(study.activations, study.losses, grid.n, grid.d, grid.b):
        for mode in study.modes:
            if mode == "only":
                continue
            for planner in study.planners if mode == "checkpointed" else ("store_all",):
                point = Point(
                    part="timeline", network=study.network, activation=activation, loss=loss, dtype=config.dtype, n=n, d=d, b=b,
                    mode=mode, wrt="", planner=planner, engine="autodiff", micro_batches=1, device=config.device,
                    threads=config.threads, execute=config.execute, repeats=1, audit="none", measure_process=False,
                )  # fmt: skip
                try:
                    frames.append(_timeline(point))
                except TapemeasureError:
                    continue  # a planner that cannot serve this shape has its row, with the reason, in results.csv
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=GROUP)


def _timeline(point: Point) -> pd.DataFrame:
    network = network_of(point)
    program, schedule = plan_of(point, network)
    if point.execute:
        network.draw(device=point.device)
    profile = profile_schedule(program, schedule, execute=point.execute)
    # An activation is a column of its own among a row's names, so a role's live bytes say what they are.
    frame = profile.timeline().rename(columns={role: f"live_{role}_bytes" for role in profile.ledger.roles})
    for column in reversed(GROUP):
        frame.insert(0, column, getattr(point, column))
    return frame
