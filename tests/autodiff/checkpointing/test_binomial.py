"""Griewank's binomial checkpointing compared with published numbers, brute force, a machine."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice, pairwise
from math import inf

import pytest
from hypothesis import given, strategies as st

from autodiff.checkpointing import conventions
from autodiff.checkpointing.binomial import (
    Action,
    advances,
    beta,
    binomial_actions,
    binomial_schedule,
    longest,
    optimal_splits,
    repetitions,
    shortest,
)
from autodiff.errors import PlannerError

# Griewank and Walther's t(n, s), gathered outside this project.
PUBLISHED = {
    (2, 1): 1,
    (10, 1): 45,
    (10, 3): 15,
    (10, 9): 9,
    (30, 4): 69,
    (55, 5): 137,
    (56, 3): 210,
    (100, 5): 316,
    (1000, 10): 3636,
    (1000, 30): 2472,
    (1000, 300): 1698,
    (5000, 100): 9898,
    (10000, 20): 37976,
    (100000, 50): 375196,
}

Move = tuple[Action, int, int]


class IllegalOrder(Exception):
    """The abstract machine was told to do what it cannot."""


def run(order: Iterable[Move], n: int) -> tuple[int, int]:
    """Run an order on an abstract machine; return its advances and the most states held at once."""

    def require(condition: bool) -> None:
        if not condition:
            raise IllegalOrder(
                f"{action.name} {start} {stop}, working state {working}, held {sorted(held)}, "
                f"{left} steps left"
            )

    working: int | None = 0
    held: set[int] = set()
    left, advanced, most = n, 0, 0
    action, start, stop = Action.SNAPSHOT, 0, 0
    for action, start, stop in order:
        require(start == working or start in held)
        if action is Action.ADVANCE:
            require(start < stop < left)
            working, advanced = stop, advanced + stop - start
        elif action is Action.SNAPSHOT:
            require(start == stop == working and start not in held)
            held.add(start)
            most = max(most, len(held))
        else:
            require(start == stop - 1 == left - 1)
            working, left = None, left - 1
            held.discard(start)
    require(left == 0 and not held)
    return advanced, most


def breaks(order: Iterable[Move], n: int, s: int) -> bool:
    """Return whether an order is illegal, holds > s states, or does not take t(n, s) advances."""
    try:
        advanced, most = run(order, n)
    except IllegalOrder:
        return True
    return advanced != advances(n, s) or most > s


@cache
def recurrence(n: int, s: int) -> float:
    """Solve the defining recurrence by trying every first advance."""
    if n == 1:
        return 0
    if s == 0:
        return inf
    return min(j + recurrence(n - j, s - 1) + recurrence(j, s) for j in range(1, n))


def fewest_by_search(n: int, s: int) -> int:
    """Search all that a machine with s places can do for the fewest single advances (0-1 BFS)."""
    begin = (n, 0, frozenset[int]())
    cost = {begin: 0}
    queue = deque([begin])
    while queue:
        here = queue.popleft()
        left, working, held = here
        if left == 0:
            return cost[here]
        free = [(left, state, held) for state in held] + [
            (left, working, held - {state}) for state in held
        ]
        if working >= 0 and len(held) < s:
            free.append((left, working, held | {working}))
        if working == left - 1:
            free.append((left - 1, -1, held))
        paid = [(left, working + 1, held)] if 0 <= working < left - 1 else []
        for there, price in [(state, 0) for state in free] + [(state, 1) for state in paid]:
            if cost[here] + price < cost.get(there, 10**9):
                cost[there] = cost[here] + price
                queue.append(there) if price else queue.appendleft(there)
    raise AssertionError("the last step is always within reach of state 0")


def test_published_numbers() -> None:
    """The closed form and the schedule give every published t(n, s)."""
    for (n, s), t in PUBLISHED.items():
        assert advances(n, s) == t
        assert run(binomial_actions(n, s), n) == (t, s)


def test_closed_form_solves_the_recurrence() -> None:
    """The closed form, and the range of optimal splits, are what trying every split finds."""
    for n in range(1, 61):
        for s in range(1, 9):
            assert advances(n, s) == recurrence(n, s)
            if n > 1:
                tried = [
                    j
                    for j in range(1, n)
                    if j + recurrence(n - j, min(s, n - 1) - 1) + recurrence(j, s)
                    == recurrence(n, s)
                ]
                assert list(optimal_splits(n, s)) == tried


@pytest.mark.parametrize("s", [1, 2, 3, 4])
def test_no_machine_is_faster(s: int) -> None:
    """A search that assumes no recursion at all finds nothing with fewer advances."""
    for n in range(1, 9):
        assert fewest_by_search(n, s) == advances(n, s)


def test_beta_at_its_borders() -> None:
    """β is 0 at −1, 1 at 0, and Pascal's triangle inside."""
    assert [beta(3, r) for r in range(-1, 4)] == [0, 1, 4, 10, 20]
    assert [beta(s, 3) for s in range(-1, 4)] == [0, 1, 4, 10, 20]
    assert beta(-1, -1) == 0
    assert all(
        beta(s, r) == beta(s, r - 1) + beta(s - 1, r) for s in range(1, 12) for r in range(1, 12)
    )


def test_more_snapshots_than_steps_help_nothing() -> None:
    """From n − 1 snapshots on, every step but the last is advanced over exactly once."""
    for n in range(1, 30):
        for s in range(max(1, n - 1), n + 5):
            assert advances(n, s) == n - 1
            assert list(binomial_actions(n, s)) == list(binomial_actions(n, max(1, n - 1)))
    assert not optimal_splits(1, 5)


@given(st.integers(2, 10**30), st.integers(1, 40) | st.integers(1, 10**9))
def test_closed_form_at_any_size(n: int, s: int) -> None:
    """Repetitions are minimal; both ends of the splits are optimal, one step beyond is not."""
    r = repetitions(n, s)
    assert beta(s, r - 1) < n <= beta(s, r)
    splits, s = optimal_splits(n, s), min(s, n - 1)
    if s == 1:
        assert (splits[0], splits[-1]) == (n - 1, n - 1)
        assert advances(n, 1) == n * (n - 1) // 2
        return

    def total(j: int) -> int:
        return j + advances(n - j, s - 1) + advances(j, s)

    assert total(splits[0]) == total(splits[-1]) == advances(n, s)
    assert all(total(j) > advances(n, s) for j in (splits[0] - 1, splits[-1] + 1) if 1 <= j < n)


def middle(splits: range) -> int:
    """Pick an optimal split that is an end of no range."""
    return splits[len(splits) // 2]


@pytest.mark.parametrize("split", [shortest, longest, middle])
def test_schedule_is_legal_and_optimal(split: Callable[[range], int]) -> None:
    """Every order up to 200 steps and 20 snapshots is legal, optimal, and uses all its states."""
    for n in range(1, 201):
        for s in range(1, 21):
            assert run(binomial_actions(n, s, split), n) == (advances(n, s), min(s, max(1, n - 1)))


@given(st.integers(1, 3000), st.integers(1, 80), st.integers(0, 2**32))
def test_any_choice_among_optimal_splits_is_optimal(n: int, s: int, seed: int) -> None:
    """Any choice of splits gives a legal, optimal order with one advance fewer than steps."""
    order = list(binomial_actions(n, s, lambda splits: splits[seed % len(splits)]))
    assert not breaks(order, n, s)
    kinds = [action for action, _, _ in order]
    assert (kinds.count(Action.REVERSE), kinds.count(Action.ADVANCE)) == (n, n - 1)
    assert 1 <= kinds.count(Action.SNAPSHOT) <= n


def test_a_worked_example() -> None:
    """Four steps and two snapshots: t = 4, where 3 snapshots would need 3 and one would need 6."""
    advance, snapshot, reverse = Action.ADVANCE, Action.SNAPSHOT, Action.REVERSE
    assert list(binomial_actions(4, 2, longest)) == [
        *(
            (snapshot, 0, 0),
            (advance, 0, 2),
            (snapshot, 2, 2),
            (advance, 2, 3),
            (reverse, 3, 4),
            (reverse, 2, 3),
        ),
        *((advance, 0, 1), (reverse, 1, 2), (reverse, 0, 1)),
    ]


def test_order_is_a_stream() -> None:
    """The first actions of a billion steps come at once; many snapshots nest no deeper."""
    assert list(islice(binomial_actions(10**9, 50), 2)) == [
        (Action.SNAPSHOT, 0, 0),
        (Action.ADVANCE, 0, optimal_splits(10**9, 50)[0]),
    ]
    assert (
        sum(action is Action.REVERSE for action, _, _ in binomial_actions(20_000, 10_000)) == 20_000
    )


def test_schedule_is_the_order_in_an_array() -> None:
    """The rows of the array are the actions of the stream, and are read-only."""
    for n, s in [(1, 1), (2, 1), (9, 8), (20, 3), (500, 6)]:
        for split in (shortest, longest):
            rows = binomial_schedule(n, s, split)
            assert [(Action(action), start, stop) for action, start, stop in rows.tolist()] == list(
                binomial_actions(n, s, split)
            )
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = Action.REVERSE


@pytest.mark.parametrize(("n", "s"), [(2, 1), (7, 1), (9, 8), (20, 3), (40, 4)])
def test_every_mutation_is_caught(n: int, s: int) -> None:
    """The machine refuses an order with an action left out, doubled, shifted or exchanged."""
    order = list(binomial_actions(n, s))
    assert not breaks(order, n, s)
    assert run(order, n)[1] > s - 1
    for at, (action, start, stop) in enumerate(order):
        before, after = order[:at], order[at + 1 :]
        assert breaks([*before, *after], n, s)
        assert breaks([*before, order[at], order[at], *after], n, s)
        assert breaks([*before, (action, start, stop + 1), *after], n, s)
        assert breaks([*before, (action, start + 1, stop + 1), *after], n, s)
        if after:
            assert breaks([*before, after[0], order[at], *after[1:]], n, s)
    assert breaks(binomial_actions(n, s), n + 1, s)


def test_a_split_beyond_the_optimal_ones_is_caught() -> None:
    """An order that is legal but splits one step too late takes more than t(n, s) advances."""
    order = list(binomial_actions(20, 3, lambda splits: splits[-1] + 1))
    assert run(order, 20)[0] > advances(20, 3)
    assert breaks(order, 20, 3)


def segmented(n: int, segments: int) -> list[Move]:
    """Return the actions of a segmented run whose last segment is among the longest."""
    starts = [i * n // segments for i in range(segments)] + [n]
    order: list[Move] = []
    for start, end in pairwise(starts[:-1]):
        order += [(Action.SNAPSHOT, start, start), (Action.ADVANCE, start, end)]
    for start, end in reversed(list(pairwise(starts))):
        states = range(
            start, end - 1
        )  # all of the segment but the state from which its last step is reversed
        for state in states:
            order += [(Action.SNAPSHOT, state, state)] if end == n or state > start else []
            order.append((Action.ADVANCE, state, state + 1))
        order += [(Action.REVERSE, state, state + 1) for state in reversed(range(start, end))]
    return order


def test_segments_and_snapshots() -> None:
    """Equal segments hold the converted number of states, never beat Revolve, and convert back."""
    for n in range(2, 40):
        for segments in range(1, n + 1):
            s = conventions.segments_to_snapshots(n, segments)
            advanced, most = run(segmented(n, segments), n)
            assert most == s
            assert advanced >= advances(n, s)
        held = {k: conventions.segments_to_snapshots(n, k) for k in range(1, n + 1)}
        for s in range(min(held.values()), n + 3):
            assert conventions.snapshots_to_segments(n, s) == min(k for k in held if held[k] <= s)
        if min(held.values()) > 1:
            with pytest.raises(PlannerError, match=f"give s ≥ {min(held.values())}"):
                conventions.snapshots_to_segments(n, min(held.values()) - 1)


@pytest.mark.parametrize(
    "function", [advances, repetitions, optimal_splits, binomial_actions, binomial_schedule]
)
@pytest.mark.parametrize(
    ("n", "s", "name"),
    [(0, 1, "n"), (-3, 2, "n"), (1, 0, "s"), (2.0, 1, "n"), (5, "3", "s"), (5, True, "s")],
)
def test_bad_numbers_are_refused_at_once(
    function: Callable[[object, object], object], n: object, s: object, name: str
) -> None:
    """What is not a whole number of at least 1 is named in one line, before anything is taken."""
    with pytest.raises(PlannerError, match=rf"^{name} = .* at least 1 .*give {name} ≥ 1$"):
        function(n, s)


def test_beta_refuses_fractions() -> None:
    """β is of whole numbers."""
    with pytest.raises(PlannerError, match=r"^r = 1\.5 "):
        beta(2, 1.5)  # type: ignore[arg-type]  # this is the test
