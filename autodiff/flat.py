"""A program in arrays: who reads and writes what, and its few distinct specs and kinds of work.

Counting, weighing and folding go over these arrays and over the distinct specs and kinds, never
over the instructions one by one. Two instructions are equivalent where their ops are
interchangeable (`kind_of`) and the specs of what they read are the same: then they cost the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from autodiff.instructions import PHASES, RECOMPUTE, ROLES, Instruction, Value
from autodiff.kinds import kind_of


class Ragged(NamedTuple):
    """Lists of numbers end to end: list i is `flat[starts[i] : starts[i + 1]]`."""

    flat: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Ragged:
        """Lay lists end to end."""
        starts = np.zeros(len(lists) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, lists), np.int64, len(lists)), out=starts[1:])
        return cls(np.fromiter(chain.from_iterable(lists), np.int64, int(starts[-1])), starts)

    def take(self, order: np.ndarray) -> Ragged:
        """Return the lists that `order` names, in its order."""
        lengths = np.diff(self.starts)[order]
        starts = np.zeros(len(order) + 1, dtype=np.int64)
        np.cumsum(lengths, out=starts[1:])
        shift = np.repeat(self.starts[order] - starts[:-1], lengths)
        return Ragged(self.flat[np.arange(starts[-1]) + shift], starts)

    def without(self, places: np.ndarray) -> Ragged:
        """Return the lists without the entries at some places of `flat`."""
        if not len(places):
            return self
        stays = np.ones(len(self.flat), dtype=bool)
        stays[places] = False
        before = np.concatenate([[0], np.cumsum(stays)])
        return Ragged(self.flat[stays], before[self.starts])

    def owners(self) -> np.ndarray:
        """Return, for each entry of `flat`, the list that holds it."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def repeated(order: np.ndarray) -> np.ndarray:
    """Return which steps of an order run an instruction that has run before."""
    first = np.zeros(int(order.max(initial=-1)) + 1, dtype=np.int64)
    first[order[::-1]] = np.arange(len(order))[::-1]  # the last that is written stays: the first
    again: np.ndarray = first[order] < np.arange(len(order))
    return again


class Work(NamedTuple):
    """What equivalent instructions do: an op, taken from one of them, on inputs of these specs."""

    op: Any
    specs: tuple[Any, ...]


class Flat:
    """The arrays of a program, each made when it is first asked for."""

    def __init__(
        self, values: Sequence[Value], instructions: Sequence[Instruction], targets: Sequence[int]
    ) -> None:
        self._values, self._instructions, self._targets = values, instructions, targets

    def _of_values(self, field: str) -> list[Any]:
        return list(map(attrgetter(field), self._values))

    def _of_instructions(self, field: str) -> list[Any]:
        return list(map(attrgetter(field), self._instructions))

    @cached_property
    def phases(self) -> np.ndarray:
        """The phase of each instruction, as its place among `PHASES`."""
        return _coded(self._of_instructions("phase"), PHASES)

    @cached_property
    def roles(self) -> np.ndarray:
        """The role of each value's buffer, as its place among `ROLES`."""
        return _coded(self._of_values("role"), ROLES)

    @cached_property
    def reads(self) -> Ragged:
        """The values that each instruction reads."""
        return Ragged.of(self._of_instructions("reads"))

    @cached_property
    def replays(self) -> np.ndarray:
        """Which instructions draw random numbers and can be replayed."""
        return np.array([op.replay is not None for op in self._of_instructions("op")], dtype=bool)

    @cached_property
    def draws(self) -> np.ndarray:
        """Which instructions give other results the next time unless they are replayed."""
        repeatable = np.array([op.repeatable for op in self._of_instructions("op")], dtype=bool)
        draws: np.ndarray = self.replays | ~repeatable
        return draws

    @cached_property
    def keeps_state(self) -> np.ndarray:
        """Which instructions only keep the state of a generator, for replays."""
        keeps = np.zeros(len(self._instructions), dtype=bool)
        states = self.reads.flat[self.reads.starts[1:][self.replays] - 1]
        keeps[self.writes.owners()[np.isin(self.writes.flat, states)]] = True
        return keeps

    @cached_property
    def optional(self) -> np.ndarray:
        """Which instructions plain backpropagation leaves out: kept states and moves."""
        optional: np.ndarray = self.keeps_state | (self.phases == PHASES.index(RECOMPUTE))
        return optional

    def reads_of(self, order: np.ndarray) -> Ragged:
        """Return what each step of an order reads: a state only where it draws again."""
        reads = self.reads.take(order)
        first = self.replays[order] & ~repeated(order)
        return reads.without(reads.starts[1:][first] - 1)

    @cached_property
    def writes(self) -> Ragged:
        """The values that each instruction writes."""
        return Ragged.of(self._of_instructions("writes"))

    @cached_property
    def roots(self) -> np.ndarray:
        """The value whose buffer each value lives in."""
        return np.array(self._of_values("buffer"), dtype=np.int64)

    @cached_property
    def given(self) -> np.ndarray:
        """Which values are given: read or asked for, and written by no instruction."""
        given = np.zeros(len(self._values), dtype=bool)
        given[self.reads.flat] = True
        given[list(self._targets)] = True
        given[self.writes.flat] = False
        return given

    @cached_property
    def _specs(self) -> tuple[list[Any], np.ndarray]:
        return _numbered(self._of_values("spec"))

    @property
    def specs(self) -> list[Any]:
        """The distinct specs."""
        return self._specs[0]

    @property
    def spec_of(self) -> np.ndarray:
        """The number of each value's spec among `specs`."""
        return self._specs[1]

    def per_spec(self, amount: Callable[[Any], Any]) -> np.ndarray:
        """Return an amount for each value, which is computed once for each distinct spec."""
        amounts: np.ndarray = np.array([amount(spec) for spec in self.specs])[self.spec_of]
        return amounts

    @cached_property
    def _works(self) -> tuple[list[Work], np.ndarray]:
        ops = self._of_instructions("op")
        _, kind_of_op = _numbered(list(map(kind_of, ops)))
        what = _joined(kind_of_op, _numbered_lists(self.reads, self.spec_of))
        work_of = _renumbered(what)
        examples = np.zeros(int(work_of.max(initial=-1)) + 1, dtype=np.int64)
        examples[work_of] = np.arange(len(work_of))
        return [self._work(i) for i in examples.tolist()], work_of

    def _work(self, instruction: int) -> Work:
        op, reads, _, _ = self._instructions[instruction]
        return Work(op, tuple([self._values[read].spec for read in reads]))

    @property
    def works(self) -> list[Work]:
        """The distinct kinds of work."""
        return self._works[0]

    @property
    def work_of(self) -> np.ndarray:
        """The number of each instruction's kind among `works`."""
        return self._works[1]


def _numbered(things: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
    """Return the distinct ones of many things, and the number of each among them.

    Most things are the same object, so few are compared.
    """
    ids = list(map(id, things))
    numbers: dict[Any, int] = {}
    of_id = {
        known: numbers.setdefault(thing, len(numbers))
        for known, thing in dict(zip(ids, things, strict=True)).items()
    }
    return list(numbers), np.fromiter(map(of_id.__getitem__, ids), np.int64, len(ids))


def _renumbered(numbers: np.ndarray) -> np.ndarray:
    """Return numbers from 0 on without gaps, the same for equal numbers."""
    if numbers.max(initial=0) > 4 * len(numbers) + 1024:
        return np.asarray(np.unique(numbers, return_inverse=True)[1])
    renumbered: np.ndarray = (np.cumsum(np.bincount(numbers) > 0) - 1)[numbers]
    return renumbered


def _joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return a small number for each pair, the same for equal pairs."""
    return _renumbered(one * (int(other.max(initial=0)) + 1) + other)


def _coded(words: Sequence[str], codes: Sequence[str]) -> np.ndarray:
    """Return the place of each word among `codes`."""
    return np.fromiter(
        map({word: i for i, word in enumerate(codes)}.__getitem__, words), np.int64, len(words)
    )


def _numbered_lists(lists: Ragged, label: np.ndarray) -> np.ndarray:
    """Return a number for each list, the same for lists with the same labels in the same order."""
    lengths = np.diff(lists.starts)
    number = np.zeros(len(lengths), dtype=np.int64)
    for place in range(int(lengths.max(initial=0))):
        long = np.flatnonzero(lengths > place)
        number[long] = _joined(number[long], label[lists.flat[lists.starts[long] + place]])
    return _joined(
        number, lengths
    )  # what a longer list begins with may have a shorter one's number
