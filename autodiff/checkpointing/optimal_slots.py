"""Moves in slots of memory instead of bytes, and the sub-chains that are alike.

Rounded to the **nearest** slot the numbers are right on average, so a plan made from them nearly
fits, and `optimal_plans` weighs it in bytes. Rounded **down** every plan that truly fits also fits
here: the least cost is then a lower bound.

Two sub-chains are alike if their cells are, one by one: `ident[a, b]` is the same number for both.
Where the cells repeat, n cells have about 4n of them instead of n²/2, and each is solved once. Then
`left` is summed up from rounded differences, so that alike sub-chains have the same slots; where
most cells differ it is rounded as a whole, which is more precise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from autodiff.checkpointing.moves import NEVER, Moves

TILE = 16
"""How many ends of sub-chains are taken at a time."""


@dataclass(frozen=True, eq=False)
class Slots:
    """Moves in slots of `unit` bytes, named as in `Moves`; `ident` and `chains` number sub-chains.

    `chains` has a row (a, b) for each distinct sub-chain, after all that it consists of.
    `passed[k]` is the sum of `again` below k. `first_prefix` and `further_prefix` are the costs of
    passing the cells below k. `count[k]` is the number of tapes of cell k.
    """

    unit: int
    ident: np.ndarray
    chains: np.ndarray
    count: np.ndarray
    state: np.ndarray
    left: np.ndarray
    passed: np.ndarray
    first_held: np.ndarray
    first_passing: np.ndarray
    further_held: np.ndarray
    further_passing: np.ndarray
    first_prefix: np.ndarray
    further_prefix: np.ndarray
    kept: np.ndarray
    stage: np.ndarray
    stage_above: np.ndarray
    first_tape: np.ndarray
    further_tape: np.ndarray
    last_tape: np.ndarray
    first_cost: np.ndarray
    further_cost: np.ndarray
    last_cost: np.ndarray


class SubChains(NamedTuple):
    """The sub-chains of a chain: see `Slots`; `repeats` says whether most cells are alike."""

    ident: np.ndarray
    chains: np.ndarray
    repeats: bool


def sub_chains(moves: Moves) -> SubChains:
    """Return the sub-chains, each distinct one once."""
    alike = classes_of(moves)
    repeats = 2 * len(set(alike)) <= len(moves)
    return SubChains(
        *_interned(alike if repeats else list(range(len(moves))), moves.lowest), repeats
    )


def in_slots(moves: Moves, subs: SubChains, unit: int, *, down: bool = False) -> Slots:
    """Return the moves in slots of `unit` bytes, rounded to the nearest or `down`."""

    def rounded(nbytes: np.ndarray) -> np.ndarray:
        return (np.asarray(nbytes, dtype=np.int64) + (0 if down else unit // 2)) // unit

    left = rounded(moves.left)
    if subs.repeats:
        steps = rounded(moves.left[:-1] - moves.left[1:])
        left = np.append(np.cumsum(steps[::-1])[::-1], 0)
    first, further = moves.first, moves.further
    return Slots(
        unit,
        subs.ident,
        subs.chains,
        np.array([len(tapes) for tapes in moves.tapes]),
        rounded(moves.state),
        left,
        _below(rounded(moves.again)),
        rounded(first.held),
        rounded(first.passing),
        rounded(further.held),
        rounded(further.passing),
        _below(first.cost),
        _below(further.cost),
        rounded(moves.kept),
        rounded(moves.stage),
        np.where(moves.stage < NEVER, rounded(moves.stage - moves.left[1:, None]), NEVER // unit),
        rounded(moves.first_tape),
        rounded(moves.further_tape),
        rounded(moves.last_tape),
        moves.first_cost,
        moves.further_cost,
        moves.last_cost,
    )


def classes_of(moves: Moves) -> list[int]:
    """Return a number for each cell, the same for cells whose further runs are alike."""
    relative = (
        moves.state,
        moves.left[:-1] - moves.left[1:],
        moves.again,
        moves.further.held,
        moves.further.passing,
        moves.further.cost,
        moves.kept,
        np.where(moves.stage < NEVER, moves.stage - moves.left[1:, None], NEVER),
        moves.further_tape,
        moves.last_tape,
        moves.further_cost,
        moves.last_cost,
    )
    seen: dict[bytes, int] = {}
    return [
        seen.setdefault(b"".join(numbers[k].tobytes() for numbers in relative), len(seen))
        for k in range(len(moves))
    ]


def _interned(alike: list[int], lowest: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each sub-chain and the distinct ones, each after its parts.

    Those that end in the last cell belong to the first sweep and are like no others. The ends are
    taken in tiles, so that the rows of a few ends are read again while they are in the cache.
    """
    n = len(alike)
    ident = np.full((n, n), -1, dtype=np.int64)
    numbers: dict[tuple[int, int], int] = {}
    chains: list[tuple[int, int]] = []
    for tile in range(lowest, n, TILE):
        ends = range(tile, min(tile + TILE, n))
        for a in range(ends[-1], lowest - 1, -1):
            for b in range(max(a, tile), ends[-1] + 1):
                if b == n - 1:
                    key = -2, a
                elif a == b:
                    key = -1, alike[a]
                else:
                    key = int(ident[a, b - 1]), alike[b]
                number = numbers.setdefault(key, len(numbers))
                if number == len(chains):
                    chains.append((a, b))
                ident[a, b] = number
    return ident, np.array(chains, dtype=np.int64).reshape(-1, 2)


def _below(amounts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=amounts.dtype), np.cumsum(amounts)])
