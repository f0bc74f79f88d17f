"""The same moment in models of different depth, by the names of what runs.

A moment is a call of an op: its phase, its module, the op, and which of the module's calls it is.
Where the length of a list of modules varies from row to row, the place in it is counted from both
ends (`+0`, `+1`, …, `-2`, `-1`), as far as the middle of the shortest list. Between the ends live
bytes change by the same amount from layer to layer, so that they are greatest at an end; `uneven`
checks that in every row that is deep enough. Equal calls of one place whose number varies, as those
of an LSTM's layers, are counted from both ends too; the others of them are one moment together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

MOST_ENDS = 8
"""How many modules at most are told apart at each end of a list of varying length."""


class Call(NamedTuple):
    """What a call is: its phase, the name of its module (or of the parameter updated), its op."""

    phase: str
    place: str
    op: str


class Moment(NamedTuple):
    """A call that rows of different depth share.

    `ordinal` counts equal calls of one place, from their end where it is negative; it is None for
    all of them that are at no end.
    """

    phase: str
    place: str
    op: str
    ordinal: int | None

    def __str__(self) -> str:
        """Return the moment in words; a layer has its place in the list: h[0], the last h[-1]."""
        place = re.sub(r"(?:^|\.)([+-]\d+)", lambda at: f"[{at[1].lstrip('+')}]", self.place)
        return f"{self.op} in {place or 'the model'} ({self.phase})"


@dataclass(frozen=True)
class Run:
    """The calls of one step in order, and the live bytes right after each."""

    calls: tuple[Call, ...]
    live: tuple[int, ...]

    @property
    def peak(self) -> int:
        """Return the greatest of the live bytes."""
        return max(self.live, default=0)


def by_moment(runs: Sequence[Run]) -> list[dict[Moment, int]]:
    """Return the live bytes of each run by moment, comparable from run to run."""
    lengths = [_lengths(run.calls) for run in runs]
    ends = _ends(lengths)
    counts = _counts(runs)
    tables = []
    for run, length in zip(runs, lengths, strict=True):
        table: dict[Moment, int] = {}
        places = {
            place: _places(place, length, ends) for place in {call.place for call in run.calls}
        }
        found = Counter(run.calls)
        for call, number, live in _numbered(run):
            ordinals = _ordinals(number, found[call], counts[call])
            for place, ordinal in product(places[call.place], ordinals):
                moment = Moment(call.phase, place, call.op, ordinal)
                table[moment] = max(live, table.get(moment, 0))
        tables.append(table)
    return tables


def uneven(runs: Sequence[Run]) -> str:
    """Return the first moment whose bytes do not change evenly between the layers, else nothing."""
    lengths = [_lengths(run.calls) for run in runs]
    ends = _ends(lengths)
    for run, length in zip(runs, lengths, strict=True):
        series: dict[tuple[str, str, str, str, int], dict[int, int]] = {}
        for call, ordinal, live in _numbered(run):
            for prefix, index in _indices(call.place):
                if prefix in ends and 0 < index < length[prefix] - 1:
                    rest = call.place.removeprefix(f"{prefix}.{index}" if prefix else str(index))
                    key = (call.phase, prefix, rest, call.op, ordinal)
                    series.setdefault(key, {})[index] = live
        for key, found in series.items():
            values = [found[index] for index in sorted(found)]
            steps = {after - before for before, after in pairwise(values)}
            if len(steps) > 1:
                return f"{key[3]} in {key[1]}.*{key[2]} ({key[0]})"
    return ""


def _numbered(run: Run) -> Iterator[tuple[Call, int, int]]:
    """Yield each call, how many equal ones came before it, and the live bytes after it."""
    seen: Counter[Call] = Counter()
    for call, live in zip(run.calls, run.live, strict=True):
        yield call, seen[call], live
        seen[call] += 1


def _counts(runs: Sequence[Run]) -> dict[Call, set[int]]:
    """Return how often a call occurs in the runs that have it."""
    counts: dict[Call, set[int]] = {}
    for run in runs:
        for call, count in Counter(run.calls).items():
            counts.setdefault(call, set()).add(count)
    return counts


def _ordinals(number: int, count: int, counts: set[int]) -> list[int | None]:
    """Return the names of one of `count` equal calls, of which other runs have other numbers."""
    if len(counts) == 1:
        return [number]
    reach = min((min(counts) + 1) // 2, MOST_ENDS)
    first: list[int | None] = [number] if number < reach else []
    last: list[int | None] = [number - count] if count - number <= reach else []
    return first + last or [None]


def _indices(place: str) -> Iterator[tuple[str, int]]:
    """Yield each list that a dotted name goes through, with the place in it."""
    parts = place.split(".")
    for at, part in enumerate(parts):
        if part.isdigit():
            yield ".".join(parts[:at]), int(part)


def _lengths(calls: Iterable[Call]) -> dict[str, int]:
    lengths: dict[str, int] = {}
    for place in {call.place for call in calls}:
        for prefix, index in _indices(place):
            lengths[prefix] = max(lengths.get(prefix, 0), index + 1)
    return lengths


def _ends(lengths: Sequence[dict[str, int]]) -> dict[str, int]:
    """Return, for each list whose length differs between runs, how far its ends reach."""
    known: dict[str, set[int]] = {}
    for one in lengths:
        for prefix, length in one.items():
            known.setdefault(prefix, set()).add(length)
    return {
        prefix: min((min(found) + 1) // 2, MOST_ENDS)
        for prefix, found in known.items()
        if len(found) > 1
    }


def _places(place: str, lengths: dict[str, int], ends: dict[str, int]) -> list[str]:
    """Return the names of a place by its distance from the ends of the lists that vary."""
    options: list[list[str]] = []
    at = dict(_indices(place))
    parts = place.split(".")
    for number, part in enumerate(parts):
        prefix = ".".join(parts[:number])
        if not part.isdigit() or prefix not in ends:
            options.append([part])
            continue
        index, length = at[prefix], lengths[prefix]
        first = [f"+{index}"] if index < ends[prefix] else []
        last = [f"-{length - index}"] if length - index <= ends[prefix] else []
        options.append(first + last)
    return [".".join(chosen) for chosen in product(*options)]
