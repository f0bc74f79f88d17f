"""The dynamic programme: against a search over all orders, closed forms, and its own two codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from checkpoint_schedules.mixed import optimal_steps_mixed

from autodiff import advances
from autodiff.checkpointing.moves import Moves, Passes
from autodiff.checkpointing.optimal_plans import OptimalPlans
from autodiff.checkpointing.optimal_slots import in_slots, sub_chains
from autodiff.checkpointing.optimal_table import INFEASIBLE, least_costs
from tests.support.chain_search import cheapest, equal_cells, made, random_cells


def costs(moves: Moves, most: int, unit: int = 1, *, down: bool = False) -> np.ndarray:
    """The least cost of reversing a whole chain with 0 … most slots."""
    slots = in_slots(moves, sub_chains(moves), unit, down=down)
    row: np.ndarray = least_costs(slots, most)[slots.ident[0, -1]]
    return row


@pytest.mark.parametrize("n", [1, 2, 3, 10, 31, 60])
def test_equal_cells_without_room_for_tapes_take_griewanks_steps(n: int) -> None:
    """Where no tape fits, the least cost is t(n, s) + n."""
    row = costs(equal_cells(n), n)
    assert row[0] == INFEASIBLE or n == 1
    assert row[1:].tolist() == [advances(n, s) + n for s in range(1, n + 1)]


def test_equal_cells_with_tapes_of_one_unit_take_the_steps_of_mixed_storage() -> None:
    """Where a tape takes as much as a state, all 1,770 costs are those of `Mixed`."""
    found = 0
    for n in range(2, 61):
        row = costs(equal_cells(n, kept=1), n - 1)
        expected = [optimal_steps_mixed(n, s) for s in range(1, n)]
        assert row[1:].tolist() == expected
        found += len(expected)
    assert found == 1770
    assert [costs(equal_cells(n, 1), s)[s] for n, s in ((10, 3), (100, 5), (64, 3))] == [
        optimal_steps_mixed(10, 3), optimal_steps_mixed(100, 5), optimal_steps_mixed(64, 3)
    ]  # fmt: skip


def compared(n: int, chains: int, seed: int) -> list[float]:
    """By how much the programme costs more than the search, for each chain and budget."""
    draw = np.random.default_rng(seed)
    above: list[float] = []
    for _ in range(chains):
        moves = random_cells(n, draw, int(draw.choice([2, 5, 12])))
        enough = int(moves.kept.sum() + moves.left[0] + 20)
        row = costs(moves, enough)
        for share in (0.35, 0.45, 0.55, 0.7, 0.85):
            least = cheapest(moves, int(enough * share))
            found = float(row[int(enough * share)])
            assert (least is None) == (found == INFEASIBLE)
            if least is not None:
                assert found >= least
                above.append(found / least - 1)
    return above


@pytest.mark.parametrize(
    ("n", "chains"), [(4, 25), *(pytest.param(n, 40, marks=pytest.mark.slow) for n in (5, 6))]
)
def test_hardly_any_order_is_cheaper(n: int, chains: int) -> None:
    """At least 98% of random chains and budgets are optimal over all orders, the rest within 15%.

    The rest needs plans that are not persistent: they drop a state before its own cell is reversed.
    """
    above = compared(n, chains, seed=n)
    assert len(above) >= 4 * chains
    assert sum(more == 0 for more in above) >= 0.98 * len(above)
    assert max(above) <= 0.15


def test_a_plan_that_is_not_persistent_can_be_cheaper_by_more() -> None:
    """The dearest case that was found: 13.6% above an order that drops a state early."""
    cost = np.array([2, 4, 8, 7, 3, 5, 5.0])
    peaks = np.array([3, 8, 7, 15, 20, 16, 7])
    moves = made(
        Passes(held=peaks, passing=peaks, cost=cost),
        np.array([0, 3, 3, 4, 11, 9, 6]),
        np.array([8, 9, 7, 8, 13, 9, 6, 0]),
        np.array([4, 8, 4, 8, 13, 13, 7]),
        np.array([15, 20, 15, 27, 35, 28, 13]),
        np.array([7, 11, 8, 19, 22, 19, 8]),
        np.array([4, 8, 4, 8, 13, 13, 8]),
        np.array([1, 2, 5, 4, 2, 3, 5.0]),
    )
    assert (costs(moves, 38)[38], cheapest(moves, 38)) == (67, 59)


def test_the_search_finds_more_where_the_programme_is_crippled() -> None:
    """A programme that may hold no state but the first costs more than the search, often."""
    draw, worse = np.random.default_rng(5), 0
    for _ in range(10):
        moves = random_cells(6, draw, 5)
        dear = replace(moves, state=moves.state + 1000 * (np.arange(6) > 0))
        enough = int(moves.kept.sum() + moves.left[0] + 20)
        found = float(costs(dear, enough)[int(0.6 * enough)])
        least = cheapest(moves, int(0.6 * enough))
        worse += least is not None and found > least
    assert worse >= 3


def test_compiled_and_plain_code_fill_the_same_table() -> None:
    """numba's table equals numpy's, entry by entry, for alike and for different cells."""
    pytest.importorskip("numba")
    draw = np.random.default_rng(6)
    for moves in (equal_cells(20), equal_cells(15, 1), *(random_cells(9, draw, 9) for _ in "123")):
        for down in (False, True):
            slots = in_slots(moves, sub_chains(moves), 2, down=down)
            plain = least_costs(slots, 60, compiled=False)
            assert np.array_equal(plain, least_costs(slots, 60, compiled=True))


def test_alike_sub_chains_are_solved_once() -> None:
    """Equal cells have a sub-chain for each length, twice: on the first sweep and later."""
    assert len(sub_chains(equal_cells(50)).chains) == 99
    assert len(sub_chains(random_cells(50, np.random.default_rng(7), 99)).chains) == 50 * 51 // 2


def test_rounding_down_bounds_and_rounding_to_the_nearest_nearly_fits() -> None:
    """With coarse slots the bound is below the exact cost, and the plan found is near it."""
    draw = np.random.default_rng(8)
    for _ in range(20):
        moves = random_cells(12, draw, 40)
        enough = int(moves.kept.sum() + moves.left[0] + 20)
        exact = costs(moves, enough)
        for share in (0.4, 0.6, 0.8):
            limit = int(share * enough)
            assert costs(moves, limit // 16, 16, down=True)[-1] <= exact[limit]
            found = OptimalPlans(moves).within_bytes(limit)
            assert (found is None) == (exact[limit] == INFEASIBLE)
            if found is not None:
                assert found.peak <= limit
                assert found.cost == exact[limit]


def test_a_larger_limit_never_gives_a_dearer_plan_or_a_lower_peak() -> None:
    """Costs fall and peaks rise with the limit, whatever the slots."""
    plans = OptimalPlans(random_cells(14, np.random.default_rng(9), 400), unit=7)
    found = [
        plans.within_bytes(limit)
        for limit in range(plans.least.peak, plans.plain_peak, plans.plain_peak // 150)
    ]
    assert None not in found
    made = [(one.cost, one.peak) for one in found if one is not None]
    assert [cost for cost, _ in made] == sorted([cost for cost, _ in made], reverse=True)
    assert [peak for _, peak in made] == sorted(peak for _, peak in made)
