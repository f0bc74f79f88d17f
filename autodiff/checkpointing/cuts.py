"""The cuts of a forward part at which a cell may start; `cells` defines cuts and cells."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from autodiff.instructions import FORWARD, PARAMETER
from autodiff.program import Program


class Cuts:
    """The facts about every buffer of the forward part, from one walk, and the cuts that follow.

    A buffer is named by the value that owns it. `born`, `first_read` and `last_read` are places
    among `instructions`, those of the forward part; `readers` of a buffer are the instructions that
    read it or a view of it, with the value that they read, making a view left out; `layered` are
    the buffers that are computed of data and parameters, in order of birth.
    """

    def __init__(self, program: Program, data: Collection[int]) -> None:
        """Walk the forward part once; `data` are the values that the chain may start from."""
        self.program = program
        self.instructions = [
            i for i, step in enumerate(program.instructions) if step.phase == FORWARD
        ]
        values = program.values
        self.buffer = [value.buffer for value in values]
        given = set(program.given)
        self.from_data = bytearray(len(values))
        self.from_parameter = bytearray(len(values))
        for v in given:
            self.from_data[v] = v in data
            self.from_parameter[v] = values[v].role == PARAMETER
        self.is_free = bytearray(buffer in given for buffer in self.buffer)
        self.first_read: dict[int, int] = {}
        self.last_read: dict[int, int] = {}
        self.born: dict[int, int] = {}
        self.readers: dict[int, list[tuple[int, int]]] = {}
        self._starting: dict[int, bool] = {}
        for at, i in enumerate(self.instructions):
            _, reads, writes, _ = program.instructions[i]
            is_view = all(self.buffer[write] != write for write in writes)
            for read in reads:
                known = self.buffer[read]
                self.first_read.setdefault(known, at)
                self.last_read[known] = at
                if not is_view:
                    self.readers.setdefault(known, []).append((i, read))
            for write in writes:
                self.born.setdefault(self.buffer[write], at)
                self.from_data[write] = write in data or any(self.from_data[read] for read in reads)
                self.from_parameter[write] = any(self.from_parameter[read] for read in reads)
        self.data = frozenset(v for v in data if v in self.first_read)
        self.layered = [v for v in self.born if self.is_layered(v)]

    def starts(self) -> list[int]:
        """Return the cuts that start a cell, in order, including cells without a product."""
        crossing = [(self.born[v], v) for v in self.layered]
        outside = self._starts(crossing)
        starts = self._starts(crossing + self._beginning(outside))
        return starts if 2 * len(starts) >= len(outside) else outside

    def between(self, starts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Return the instructions up to each start, and those after the last one."""
        edges = [0, *(self.born[start] + 1 for start in starts), len(self.instructions)]
        return tuple(tuple(self.instructions[a:b]) for a, b in pairwise(edges))

    def _beginning(self, starts: Sequence[int]) -> list[tuple[int, int]]:
        """Return the data behind the first start, and what is made of it before any layer.

        Each comes with the place from which on it is known.
        """
        if not starts:
            return []
        behind = {starts[0]}
        for i in reversed(self.instructions[: self.born[starts[0]] + 1]):
            _, reads, writes, _ = self.program.instructions[i]
            if not behind.isdisjoint(self.buffer[write] for write in writes):
                behind.update(self.buffer[read] for read in reads)
        data = {
            v for v in self.data if v in behind and not _is_whole(self.program.values[v].spec.dtype)
        }
        known = set(data)
        for v in self.born:
            reads = self.program.instructions[self.instructions[self.born[v]]].reads
            if not self.from_parameter[v] and any(self.buffer[read] in known for read in reads):
                known.add(v)
        return [
            (self.first_read[v] if self.is_free[v] else self.born[v], v)
            for v in known
            if v in data or not self.is_free[v]
        ]

    def _starts(self, crossing: Iterable[tuple[int, int]]) -> list[int]:
        """Return the cuts that start a cell, in order.

        `crossing` are the buffers that count as known, each with the place from which on.
        """
        steps = len(self.instructions)
        count, total = [0] * (steps + 1), [0] * (steps + 1)
        for first, v in crossing:
            last = self.last_read.get(v, -1)
            if last > first:  # known after `first`, read for the last time at `last`
                count[first] += 1
                count[last] -= 1
                total[first] += v
                total[last] -= v
        cuts: list[int] = []
        known = names = 0
        for at in range(steps):
            known, names = known + count[at], names + total[at]
            # Where only one buffer crosses, the sum of their numbers is its number.
            if known == 1 and self.born.get(names) == at and self.is_layered(names):
                cuts.append(names)
        ends = [*(self.born[cut] + 1 for cut in cuts[1:]), steps][: len(cuts)]
        return [
            cut
            for cut, end in zip(cuts, ends, strict=True)
            if self.starts_a_cell(cut) or self._leads_to_a_layer(cut, end)
        ]

    def _leads_to_a_layer(self, cut: int, end: int) -> bool:
        """Return whether what follows from only this cut meets a parameter before `end`."""
        behind = {cut}
        for at in range(self.born[cut] + 1, end):
            _, reads, writes, _ = self.program.instructions[self.instructions[at]]
            if not behind.isdisjoint(reads) and all(
                read in behind or not self.from_data[read] for read in reads
            ):
                behind.update(writes)
                if self._products[at] and any(self.is_parameter(read) for read in reads):
                    return True
        return False

    def starts_a_cell(self, value: int) -> bool:
        """Return whether a value feeds an op whose parameter is not just its bias or scale."""
        if value not in self._starting:
            self._starting[value] = self._looked_at(value)
        return self._starting[value]

    def _looked_at(self, value: int) -> bool:
        values, instructions = self.program.values, self.program.instructions
        readers = self.readers.get(value, ())
        parameters = [
            [p for p in instructions[i].reads if self.is_parameter(p)] for i, _ in readers
        ]
        if not any(parameters) or not self.from_data[value]:
            return False
        producer = instructions[self.instructions[self.born[value]]]
        ranks = [len(values[read].spec.shape) for _, read in readers]
        scales = all(
            found and all(len(values[p].spec.shape) < rank for p in found)
            for found, rank in zip(parameters, ranks, strict=True)
        )
        return not (scales and any(self.is_parameter(read) for read in producer.reads))

    @property
    def has_all_products(self) -> bool:
        """Return whether every product of the forward part is computed from data."""
        writes = (self.program.instructions[i].writes for i in self.instructions)
        return all(
            self.from_data[write]
            for some, is_product in zip(writes, self._products, strict=True)
            if is_product
            for write in some
        )

    @cached_property
    def _products(self) -> np.ndarray:
        """Return which instructions of the forward part are products."""
        flat = self.program.flat
        is_product = np.array(
            [bool(op.cost(*specs).matmul_flops != 0) for op, specs in flat.works], dtype=bool
        )
        found: np.ndarray = is_product[flat.work_of[self.instructions]]
        return found

    def with_products(self, starts: Sequence[int]) -> list[int]:
        """Return the starts without those that end a cell of no product, which joins the next one.

        Where there are no products, all starts are returned.
        """
        products = np.cumsum(self._products)
        if not starts or not products[-1]:
            return list(starts)
        until = [0, *(int(products[self.born[start]]) for start in starts)]
        return [
            start
            for start, (before, after) in zip(starts, pairwise(until), strict=True)
            if after > before
        ]

    def is_parameter(self, value: int) -> bool:
        """Return whether a value is a parameter, or computed only from parameters."""
        return bool(self.from_parameter[value] and not self.from_data[value])

    def is_layered(self, value: int) -> bool:
        """Return whether a forward value depends on data and parameters and owns its buffer."""
        return bool(
            self.buffer[value] == value
            and not self.is_free[value]
            and self.from_data[value]
            and self.from_parameter[value]
        )


def _is_whole(dtype: Any) -> bool:
    """Return whether a dtype is integer or boolean, which has no gradient."""
    return not (dtype.is_floating_point or dtype.is_complex)
