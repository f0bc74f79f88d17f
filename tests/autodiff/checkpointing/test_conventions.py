"""The conversions between conventions, compared with the tools that use them."""

from functools import cache
from math import inf

import checkpoint_schedules
import pytest
from checkpoint_schedules.multistage import optimal_extra_steps, optimal_steps_binomial
from hypothesis import given, strategies as st
from pyrevolve import schedulers as pyrevolve

from autodiff.checkpointing import conventions
from autodiff.checkpointing.binomial import advances
from autodiff.errors import PlannerError

SIZES = [(n, s) for n in range(1, 41) for s in range(1, 12)] + [
    (100, 5),
    (100, 150),
    (1000, 10),
    (1000, 30),
    (10000, 20),
]


def test_equal_to_pyrevolve() -> None:
    """The lengths of pyrevolve's advances add up to t, and its ratio is t/n."""
    for n, s in SIZES:
        scheduler = pyrevolve.CRevolve(s, n)
        moves = [move for move in scheduler.oplist if move.type == pyrevolve.Action.ADVANCE]
        assert sum(move.capo - move.old_capo for move in moves) == advances(n, s)
        assert scheduler.ratio == conventions.advances_per_step(n, s)


@pytest.mark.slow
def test_equal_to_checkpoint_schedules() -> None:
    """Forward runs of checkpoint-schedules add up to t without taping and n with it."""
    for n, s in SIZES:
        runs = [0, 0]
        for move in checkpoint_schedules.MultistageCheckpointSchedule(n, s, 0):
            if isinstance(move, checkpoint_schedules.Forward):
                runs[move.write_adj_deps] += move.n1 - move.n0
        assert runs == [advances(n, s), n]
        if s < n <= 40:
            assert optimal_extra_steps(n, s) == advances(n, s)
            assert optimal_steps_binomial(n, s) == conventions.optimal_steps(n, s) == sum(runs)


def rotor_steps(n: int, memory: int, tape: int) -> float:
    """Return the forward runs by Rotor's recurrence: n equal stages, unit states, a free loss."""

    @cache
    def solve(stages: int, room: int, loss: bool) -> float:
        if stages == 0:
            return 0 if loss and room >= 0 else inf
        alone = 1 if room >= 1 + tape else inf
        if stages == 1 and not loss:
            return alone
        splits = range(1, stages + loss)
        kept = alone + solve(stages - 1, room - tape, loss)
        return min(
            [kept]
            + [
                j + solve(stages - j, room - 1, loss) + solve(j, room, False)
                for j in splits
                if room >= 1
            ]
        )

    return solve(n, memory, True)


def test_rotor_memory() -> None:
    """Rotor's recurrence at the converted memory runs t + n steps if a tape is expensive."""
    for n in range(2, 10):
        for s in range(1, n):
            memory = conventions.snapshots_to_rotor(s, working=1 + 12)
            assert rotor_steps(n, memory, tape=12) == conventions.optimal_steps(n, s)
            assert conventions.rotor_to_snapshots(memory, working=1 + 12) == s
            assert rotor_steps(
                n, conventions.snapshots_to_rotor(s, working=2), tape=1
            ) < conventions.optimal_steps(n, s)


@given(st.integers(1, 10**6), st.integers(1, 10**12))
def test_bytes_and_snapshots(s: int, state_bytes: int) -> None:
    """The caller's input is free, one byte less than s − 1 states buys one snapshot less."""
    size = conventions.snapshots_to_bytes(s, state_bytes)
    assert conventions.bytes_to_snapshots(size, state_bytes) == s
    if s > 1:
        assert conventions.bytes_to_snapshots(size - 1, state_bytes) == s - 1


def test_conversions_refuse_what_cannot_be() -> None:
    """Too many segments, too little memory and a negative limit are clear errors."""
    with pytest.raises(PlannerError, match="segments ≤ 4"):
        conventions.segments_to_snapshots(4, 5)
    with pytest.raises(PlannerError, match="memory ≥ 4"):
        conventions.rotor_to_snapshots(3, working=3)
    with pytest.raises(PlannerError, match="limit_bytes ≥ 0"):
        conventions.bytes_to_snapshots(-1, 8)
