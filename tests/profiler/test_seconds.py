"""Measured costs: one for each instruction, shared by equivalent ones, and planned for."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from autodiff import Budget, GraphError, StoreAll, executable
from autodiff.checkpointing.costs import cost_of_each
from autodiff.checkpointing.sizes import peak
from profiler import measured_seconds
from tests.support.chains import chain_program


def test_equivalent_instructions_share_the_median_of_their_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a clock of our own every cost is known, and the first step does not count."""
    program = chain_program(4, values=True, d=2, b=8)
    ticks = count(0, 1000)
    monkeypatch.setattr(executable, "perf_counter_ns", lambda: next(ticks))
    seconds = measured_seconds(program, runs=3)
    assert len(seconds) == len(program.instructions)
    assert np.allclose(seconds, 1e-6)


def test_each_kind_of_work_has_one_cost() -> None:
    """On a real clock as well, costs are finite, at least 0, and equal within a kind."""
    program = chain_program(6, values=True, d=3, b=20)
    seconds, work = measured_seconds(program), program.flat.work_of
    assert np.all(np.isfinite(seconds))
    assert np.all(seconds >= 0)
    assert len({(kind, cost) for kind, cost in zip(work.tolist(), seconds, strict=True)}) == len(
        program.flat.works
    )


def test_a_budget_may_be_planned_for_seconds() -> None:
    """The plan is within its bytes, and its cost is in seconds."""
    program = chain_program(8, values=True, d=3, b=200)
    budget = peak(program, StoreAll()(program)) // 2
    seconds = measured_seconds(program)
    schedule = Budget(max_bytes=budget, cost=lambda program: seconds)(program)
    assert peak(program, schedule) <= budget
    counted = cost_of_each(lambda program: seconds, program)  # views are free
    assert schedule.cost == pytest.approx(counted[schedule.order].sum())
    assert str(Budget(max_bytes=1024, cost=measured_seconds)) == (
        "budget(max_bytes=1KiB, cost=measured_seconds)"
    )


def test_a_program_without_values_cannot_be_measured() -> None:
    """Shapes alone have no time."""
    with pytest.raises(GraphError, match="has no value"):
        measured_seconds(chain_program(3))
