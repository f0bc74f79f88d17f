"""Every planner by its name: in a sweep, in Python, and from shapes, with the same numbers."""

from __future__ import annotations

import pytest

from autodiff.checkpointing.parse import PLANNERS, parse_builtin_planner, planned
from autodiff.levels import moves_of
from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.measuring.point import measure, network_of
from experiments.results.point import Point
from profiler.graphs import profile
from profiler.prediction import predict_grid
from profiler.programs import program_of
from profiler.savings import planner_savings

EXAMPLES = (
    "store_all",
    "recompute_all",
    "uniform",
    "revolve(snapshots=2)",
    "hrevolve(snapshots=1, write=0.5, read=0.5)",
    "online(snapshots=2)",
    "selective(max_ops_ratio=1.3)",
    "optimal(max_ops_ratio=1.3)",
    "proven(max_bytes=1KiB, seconds=20)",
    "budget(max_ops_ratio=1.3)",
)


def point(planner: str, *, execute: bool = True) -> Point:
    """The point of a chain under a planner, with both audits."""
    (found,) = points_of(
        sweep_config(
            {
                "grid": {"n": 6, "d": 3, "b": 12},
                "modes": ["checkpointed"],
                "planners": [planner],
                "execute": execute,
                "audit": "both" if execute else "none",
            }
        )
    )
    return found


def test_there_is_an_example_of_every_planner() -> None:
    """A planner that is added without one is noticed."""
    assert [parse_builtin_planner(text).name for text in EXAMPLES] == list(PLANNERS)


@pytest.mark.parametrize("planner", EXAMPLES)
def test_rows_profiles_and_predictions_agree(planner: str) -> None:
    """The row that ran passes both audits; without running, and in Python, it is the same.

    Of plans that cost the same, the solver of `proven` finds now one and now another.
    """
    row = measure(point(planner))
    peaks = range(1025) if planner.startswith("proven") else [row.peak_bytes]
    assert (row.status, row.audit) == ("ok", "storages+scalars"), row.reason
    shapes = measure(point(planner, execute=False))
    assert shapes.ops == row.ops
    assert shapes.peak_bytes in peaks
    network = network_of(point(planner))
    found = profile(network.loss, network.weights, planner=planner, execute=False)
    assert found.ops.total == row.ops
    assert found.peak_bytes in peaks
    grid = predict_grid(6, 3, 12, ["checkpointed"], planners=[planner])
    assert grid["ops"][0] == row.ops
    assert grid["peak_bytes"][0] in peaks
    saved = planner_savings(program_of(network.loss, network.weights), [planner])
    assert saved["ops"].iloc[-1] == row.ops
    assert saved["peak_bytes"].iloc[-1] in peaks


def test_only_a_planner_that_moves_gets_a_program_with_moves() -> None:
    """HRevolve's program stores and loads, and its plan moves bytes; no other's does."""
    network = network_of(point("store_all"))
    program = program_of(network.loss, network.weights)
    for text in EXAMPLES:
        own, schedule = planned(program, text)
        moves = text.startswith("hrevolve")
        assert bool(moves_of(own)) == moves == (schedule.claims.moved_bytes > 0)
        assert (own is program) != moves
