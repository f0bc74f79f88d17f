"""The best plans of a few networks, with what is proved of them: the rows of best_plans.csv.

Plans are weighed without being run. Where a plain step takes long enough for its time to mean
something, a few plans of each planner are also run, in turn. Bound: the times are those of the
engine's own executor, on one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pandas as pd

from autodiff.checkpointing.parse import planned, planner_of
from autodiff.checkpointing.retention import solver_library
from autodiff.errors import PlannerError
from autodiff.executable import Executable
from autodiff.networks import chain
from autodiff.program import Program
from experiments.errors import one_line
from experiments.grid.subjects import BestPlans, Subject
from experiments.measuring.architectures import gpt2, unet
from experiments.measuring.point import given_bytes
from experiments.measuring.timing import Timing, alternate, one_thread
from experiments.names import STORE_ALL
from experiments.results.best_plans import BEST_PLANS_COLUMNS
from experiments.results.timings import LEAST_SECONDS
from profiler.available import available_bytes
from profiler.frontier import frontier_table, levels_table
from profiler.programs import program_of

log = logging.getLogger("tapemeasure")

ROUNDS = 5
TIMED = (STORE_ALL, "uniform", "revolve", "optimal", "selective")
"""The planners whose plans are timed."""

EACH = 3
"""How many plans of each are timed."""

MOST_TIMES = 2
"""A plan that takes more than so many times the plain operations is not timed."""


def _chain(n: int, d: int, b: int) -> Program:
    network = chain(n, d, b)
    return program_of(network.loss, network.weights)


_PROGRAMS: dict[str, Callable[..., Program]] = {
    "chain": _chain,
    "gpt2": lambda **sizes: gpt2(**sizes).program(),
    "unet": lambda **sizes: unet(**sizes).program(),
}


def best_plans_of(asked: BestPlans, execute: bool = True) -> pd.DataFrame:
    """Return a row for each plan of each network; `seconds` only where plans were timed.

    A network whose library is missing, and proofs without their solver, are left out with a line.
    """
    seconds = asked.proof_seconds
    try:
        _ = solver_library() if seconds else None
    except PlannerError as error:
        log.warning("no proofs among the best plans: %s", one_line(error))
        seconds = 0
    frames = [frame for one in asked.subjects for frame in _rows_of(one, seconds, execute)]
    none = pd.DataFrame(columns=list(BEST_PLANS_COLUMNS))
    return pd.concat(frames, ignore_index=True) if frames else none


def _rows_of(subject: Subject, proof_seconds: float, execute: bool) -> list[pd.DataFrame]:
    """Return the table of a network; none where its library is not installed."""
    try:
        program = _PROGRAMS[subject.name](**dict(subject.sizes))
    except ImportError as error:
        log.warning(
            "the best plans lack %s: %s is not installed; expected the extra models; run "
            "pip install 'tapemeasure[models]'",
            subject.name,
            error.name,
        )
        return []
    tables = frontier_table(program, proof_seconds=proof_seconds), levels_table(program)
    table = pd.concat([one for one in tables if len(one)], ignore_index=True)
    times = _times(program, table) if execute else {}
    found = [times.get(planner) for planner in table["planner"]]
    frame = table.assign(
        subject=subject.name,
        shape=subject.shape,
        seconds=[None if time is None else time.median_ns / 1e9 for time in found],
        spread_seconds=[None if time is None else time.spread_ns / 1e9 for time in found],
    )
    return [frame[list(BEST_PLANS_COLUMNS)].drop_duplicates("planner")]


def _times(program: Program, table: pd.DataFrame) -> dict[str, Timing]:
    """Return the times of some plans in alternating runs; only the plain one's where it is short.

    Nothing is run that would not fit into the available memory.
    """
    most = int(table["peak_bytes"].max())
    if most + given_bytes(program) > available_bytes():
        log.warning("the best plans have no times: %d bytes would not fit into memory", most)
        return {}
    steps = {STORE_ALL: _step(program, STORE_ALL)}
    with one_thread():
        steps[STORE_ALL]()
        start = perf_counter()
        steps[STORE_ALL]()
        took = perf_counter() - start
    if took >= LEAST_SECONDS:
        steps |= {planner: _step(program, planner) for planner in _to_time(table)}
    return alternate(steps, ROUNDS, warm_up=1)


def _step(program: Program, planner: str) -> Callable[[], Any]:
    return Executable(*planned(program, planner_of(planner))).run


def _to_time(table: pd.DataFrame) -> list[str]:
    """Return a few plans of each planner: its lowest peak, its highest, and between them."""
    chosen = []
    most = MOST_TIMES * int(table["ops"].iloc[0])
    fitting = table[table["series"].isin(TIMED) & (table["ops"] <= most)]
    for _, rows in fitting.groupby("series", sort=False):
        known = rows.drop_duplicates("peak_bytes").sort_values("peak_bytes")
        last = len(known) - 1
        places = {round(place * last / (EACH - 1)) for place in range(EACH)}
        chosen += known["planner"].iloc[sorted(places)].tolist()
    return [str(planner) for planner in chosen]
