"""Sweeps from shapes alone: rows made together are those that measuring each point by itself makes,
whatever goes wrong with some.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.measuring import shapes
from experiments.measuring.point import measure
from experiments.results.point import Point
from experiments.results.tables import read_results
from experiments.sweeping import job
from tests.support.command_line import run_main
from tests.support.planners import Fussy

EVERYTHING: dict[str, Any] = {
    "network": {"activation": ["tanh", "gelu"], "loss": ["sum", "cross_entropy"]},
    "grid": {"n": [1, 4], "d": [3, 7], "b": [4, 9]},
    "modes": ["no_grad", "forward", "full", "w1_only", "only", "checkpointed"],
    "planners": [
        "store_all",
        "uniform",
        "revolve(snapshots=2)",
        "revolve(max_ops_ratio=1.2)",
        "revolve(max_bytes=400B)",
        "budget(max_bytes=400B)",
        "optimal(max_ops_ratio=1.2)",
    ],
    "micro_batches": [1, 2],
    "execute": False,
}


def points(**changes: Any) -> list[Point]:
    """The points of everything, with changes."""
    return points_of(sweep_config({**EVERYTHING, **changes}))


def test_rows_from_shapes_are_those_of_each_point_alone() -> None:
    """Every column of every row is the same, failures and their reasons too."""
    asked = points()
    rows = list(shapes.rows_from_shapes(asked))
    assert rows == [measure(point) for point in asked]
    statuses = Counter(row.status for row in rows)
    assert statuses["ok"] > 400
    assert statuses["failed"] > 0  # budgets that nothing fits
    assert all(
        row.ops == row.theory_ops
        for row in rows
        if row.status == "ok" and row.theory_ops is not None
    )


@settings(max_examples=5)
@given(st.data())
def test_rows_come_in_the_order_of_the_points(data: st.DataObject) -> None:
    """Whatever the order of the points, each gets its own row in its own place."""
    asked = data.draw(
        st.permutations(
            points(modes=["no_grad", "checkpointed"], planners=["uniform", "revolve(snapshots=2)"])
        )
    )[:40]
    assert [row.key for row in shapes.rows_from_shapes(asked)] == [point.key for point in asked]


def test_a_row_would_differ_if_it_were_another_points() -> None:
    """The comparison is no tautology: the same kind of point at another shape has other numbers."""
    one = points(modes=["full"], micro_batches=1)[0]
    here, there = shapes.rows_from_shapes([one, replace(one, b=one.b + 1)])
    assert {name for name, value in vars(here).items() if value != vars(there)[name]} >= {
        "key",
        "b",
        "ops",
        "peak_bytes",
        "input_bytes",
        "theory_ops",
    }


def test_one_shapes_failure_is_one_rows() -> None:
    """A planner that fails for some shapes costs these, with its reason, and no other."""
    asked = points(
        modes=["checkpointed"],
        planners=[str(Fussy())],
        micro_batches=1,
        network={"activation": "tanh"},
    )
    rows = list(shapes.rows_from_shapes(asked))
    assert {(row.b, row.status, row.reason) for row in rows} == {
        (4, "ok", ""),
        (9, "failed", "RuntimeError: not nine"),
    }


def test_a_program_is_made_once_for_each_depth_and_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many widths and batches there are, nothing is built again for them."""
    made: list[Point] = []
    original = shapes.plan_of

    def counting(point: Point, network: Any) -> Any:
        made.append(point)
        return original(point, network)

    monkeypatch.setattr(shapes, "plan_of", counting)
    grid = {"n": [2, 4], "d": list(range(1, 21)), "b": list(range(1, 21))}
    asked = points(
        modes=["no_grad", "full"], grid=grid, micro_batches=1, network={"activation": "tanh"}
    )
    assert len(list(shapes.rows_from_shapes(asked))) == 2 * 2 * 400
    assert len(made) == 4


@pytest.mark.usefixtures("no_figures")
def test_a_sweep_from_shapes_has_every_row_and_a_report(tmp_path: Path) -> None:
    """`execute=false` gives the same tables and report, without a tensor, and goes on where it was
    stopped.
    """
    given_config = {
        **EVERYTHING,
        "micro_batches": 1,
        "planners": ["uniform", "revolve(snapshots=2)"],
        "network": {"activation": "tanh"},
    }
    code, _ = job.run_job(given_config, tmp_path)
    rows = read_results(tmp_path).results
    assert code == 0
    assert len(rows) == len(points_of(sweep_config(given_config)))
    assert (rows["peak_bytes"] == rows["theory_peak_bytes"]).all()
    assert rows["wall_ns_forward"].isna().all()
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert job.run_job(given_config, tmp_path)[0] == 0
    assert (tmp_path / "rows.jsonl").read_bytes() == before


def test_a_dry_run_tells_what_would_be_skipped_and_what_would_fail(tmp_path: Path) -> None:
    """Both engines' points, shapes that no machine holds, and budgets that no plan meets are
    reported before anything is run.
    """
    arguments = (
        "dry_run=true",
        "grid.n=[2]",
        "grid.d=[8]",
        "grid.b=[4,1000000000]",
        "modes=[full,checkpointed]",
        "engine=[autodiff,pytorch]",
    )
    budget = 'planners=["revolve(max_bytes=1KiB)","uniform"]'
    code, out, _ = run_main(
        *arguments, budget, "scale=null", "studies=null", "timeline=null", cwd=tmp_path
    )
    assert code == 0
    assert "10 points, 4 of which would be skipped" in out
    assert (
        "1 would fail: the first is autodiff tanh+sum n=2 d=8 b=1000000000 checkpointed "
        "revolve(max_bytes=1KiB): max_bytes" in out
    )
    assert "greatest predicted peak" in out


def test_needed_bytes_are_those_of_a_run() -> None:
    """What a point is said to need is its peak, its parameters and its inputs, as measured."""
    asked = points(
        micro_batches=1,
        planners=["uniform"],
        execute=True,
        network={"activation": "tanh"},
        audit="none",
        measure_process=False,
    )
    needed, failing = shapes.needed_bytes(asked)
    assert failing == {}
    for point in asked[::7]:
        row = measure(point)
        parts = (row.peak_bytes, row.parameter_bytes, row.input_bytes)
        assert needed[point] == (row.peak_bytes, sum(part or 0 for part in parts))
