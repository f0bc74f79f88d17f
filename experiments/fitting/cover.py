"""The fewest pieces that together meet every row: an exact set cover over bit masks.

A piece is a mask of the rows that it meets and a number of terms. Covers are compared by pieces
first, then by terms.
Bound: a depth-first search that always branches on the row met by the fewest pieces, cut off at the
best cover so far; it is exact over the pieces that it is given and at most `most` of them, whatever
the pieces stand for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """The rows that a candidate meets, as bits, and how many terms it has."""

    mask: int
    terms: int


def covers(
    pieces: Sequence[Piece], goal: int, size: int, terms: int
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield each cover of `goal` by at most `size` pieces and `terms` terms, with its terms.

    A choice is a sorted tuple of indices into `pieces`; the same choice may be yielded more than
    once.
    """
    rows = [row for row in range(goal.bit_length()) if goal >> row & 1]
    by_row = {
        row: [index for index, piece in enumerate(pieces) if piece.mask >> row & 1] for row in rows
    }
    rows_by_rarity = sorted(by_row, key=lambda row: len(by_row[row]))
    least = min((piece.terms for piece in pieces), default=0)

    def extend(
        chosen: tuple[int, ...], missing: int, spent: int
    ) -> Iterator[tuple[tuple[int, ...], int]]:
        if not missing:
            yield tuple(sorted(chosen)), spent
            return
        if len(chosen) == size or spent + least > terms:
            return
        row = next(row for row in rows_by_rarity if missing >> row & 1)
        for index in by_row[row]:
            piece = pieces[index]
            if spent + piece.terms <= terms and (
                len(chosen) + 1 < size or not missing & ~piece.mask
            ):
                yield from extend((*chosen, index), missing & ~piece.mask, spent + piece.terms)

    yield from extend((), goal, 0)


def undominated(pieces: Sequence[Piece]) -> list[int]:
    """Return the indices of the pieces that no other replaces at no more terms.

    Of equals the first is kept.
    """
    order = sorted(
        range(len(pieces)),
        key=lambda index: (-pieces[index].mask.bit_count(), pieces[index].terms, index),
    )
    kept: list[int] = []
    for index in order:
        piece = pieces[index]
        if not any(
            pieces[other].terms <= piece.terms and not piece.mask & ~pieces[other].mask
            for other in kept
        ):
            kept.append(index)
    return kept


def shortest_cover(
    pieces: Sequence[Piece], goal: int, most: int
) -> tuple[tuple[int, ...], int] | None:
    """Return a cover of the fewest pieces, among those of the fewest terms, with its terms.

    None where `most` pieces are not enough.
    """
    kept = undominated(pieces)
    few = [pieces[index] for index in kept]
    for size in range(1, most + 1):
        best: tuple[tuple[int, ...], int] | None = None
        limit = sum(sorted((piece.terms for piece in few), reverse=True)[:size])
        while (found := next(covers(few, goal, size, limit), None)) is not None:
            best, limit = found, found[1] - 1
        if best is not None:
            return tuple(sorted(kept[index] for index in best[0])), best[1]
    return None


def equally_short(
    pieces: Sequence[Piece], goal: int, size: int, terms: int, most: int
) -> list[tuple[int, ...]]:
    """Return up to `most` different covers of exactly this length."""
    found: list[tuple[int, ...]] = []
    for chosen, spent in covers(pieces, goal, size, terms):
        if spent == terms and len(chosen) == size and chosen not in found:
            found.append(chosen)
            if len(found) == most:
                break
    return found
