"""What to keep of a stretch of a program for the backward part, and what to run again: exactly.

Keeping a value takes its bytes; a value that is not kept is computed again where the backward part
needs it, which takes operations, and needs what it is computed from, kept or computed again. For
each price λ of a byte, the set with the least λ · bytes kept + operations run again is a minimum
cut (each instruction is on the source's side where it is not run again):

    source → instruction    operations (∞ where it may not run again)
    instruction → result    λ · bytes (∞ for a view, which is kept only with what it is made from)
    value → its reader      ∞
    needed value → sink     ∞

Source: the cut is a closure problem (J.-C. Picard 1976); a cut for what backward keeps: H. He,
`min_cut_rematerialization_partition` of functorch, 2022, which has no λ and counts no operations.
The cuts of falling λ are nested: G. Gallo, M. D. Grigoriadis and R. E. Tarjan 1989. All of them are
found by asking for the λ at which two cuts cost the same (M. J. Eisner and D. G. Severance 1976),
each time on what lies between these two. Where nothing lies below the line between two of them, the
components of the residual network are sets on that line, so that alike blocks come one by one, the
earliest instructions first: what is run again late costs no memory while later gradients are made.

Bound: exact for that price; it keeps one set from forward to backward and does not see the peak,
which liveness gives. Bytes and operations are whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from autodiff.checkpointing.flow import FlowNetwork, components
from autodiff.program import Program

_SOURCE, _SINK = 0, 1


@dataclass(frozen=True)
class Keep:
    """Values that are kept, with their bytes, and the operations that are run again.

    `is_corner` says that this set is the best for some price of a byte, and not merely on the line
    between two that are.
    """

    values: frozenset[int]
    nbytes: int
    operations: int
    is_corner: bool


@dataclass(frozen=True, eq=False)
class Stretch:
    """Instructions of the forward part, and the values of theirs that the backward part needs.

    `free` are the buffers that are at hand in any case. `inputs` are values that the stretch starts
    from, which may be kept and cannot be computed again; all else that it reads is at hand.
    `amount` has the bytes of each value, `cost` the operations of each instruction, both as whole
    numbers.
    """

    program: Program
    instructions: Sequence[int]
    needs: Iterable[int]
    amount: np.ndarray
    cost: np.ndarray
    free: frozenset[int] = frozenset()
    inputs: tuple[int, ...] = ()


def kept_sets(stretch: Stretch) -> list[Keep]:
    """Return the sets on the lower hull of bytes and operations, the one with most bytes first.

    The first runs nothing again that costs operations; the last keeps what it must.
    """
    network = _Network(stretch)
    blocks = _Cuts(network)
    on_source_side = bytearray(network.nodes)
    for node in blocks.first:
        on_source_side[node] = 1
    operations = sum(
        network.cost_of.get(node, 0) for node in range(network.nodes) if not on_source_side[node]
    )
    kept: set[int] = set()
    nbytes = 0
    found: list[Keep] = []
    for block, is_corner in [(range(network.nodes), True), *blocks]:
        if found:
            for node in block:
                on_source_side[node] = 0
                operations += network.cost_of.get(node, 0)
        for value in {value for node in block for value in network.values_at[node]}:
            writer, result, size = network.keepers[value]
            if on_source_side[writer] > on_source_side[result]:
                nbytes += size * (value not in kept)
                kept.add(value)
            elif value in kept:
                kept.remove(value)
                nbytes -= size
        if found and (found[-1].nbytes, found[-1].operations) == (nbytes, operations):
            is_corner = is_corner or found.pop().is_corner
        found.append(Keep(frozenset(kept), nbytes, operations, is_corner))
    return found


class _Arc(NamedTuple):
    """An arc whose capacity is cost + λ · nbytes, or without end."""

    tail: int
    head: int
    cost: int = 0
    nbytes: int = 0
    endless: bool = False


class _Network:
    """The network of a stretch; nodes are in the order of the instructions.

    `keepers` has, for each value that may be kept, its writer's node, its own, and its bytes;
    `values_at` the values that have a node as one of the two; `cost_of` the operations of an
    instruction's node.
    """

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch
        self._roots = stretch.program.flat.roots.tolist()
        self.nodes = 2
        self.arcs: list[_Arc] = []
        self.cost_of: dict[int, int] = {}
        self.keepers: dict[int, tuple[int, int, int]] = {}
        self._node_of: dict[int, int] = {}
        needs = {value for value in stretch.needs if self._roots[value] not in stretch.free}
        for value in stretch.inputs:
            self._add_value(value, _SOURCE, value in needs, keepable=True)
        for i in self._leading_to(needs):
            self._add_instruction(i, needs)
        self.values_at: list[list[int]] = [[] for _ in range(self.nodes)]
        for value, (writer, result, _) in self.keepers.items():
            self.values_at[writer].append(value)
            self.values_at[result].append(value)
        self.arcs_at: list[list[_Arc]] = [[] for _ in range(self.nodes)]
        for arc in self.arcs:
            self.arcs_at[arc.tail].append(arc)
            self.arcs_at[arc.head].append(arc)

    def _leading_to(self, needs: set[int]) -> list[int]:
        """Return the instructions that the needed values are computed by, in order."""
        wanted, leading = set(needs), []
        for i in sorted(self._stretch.instructions, reverse=True):
            _, reads, writes, _ = self._stretch.program.instructions[i]
            if not wanted.isdisjoint(writes):
                leading.append(i)
                wanted.update(read for read in reads if self._roots[read] not in self._stretch.free)
        return leading[::-1]

    def _add_instruction(self, i: int, needs: set[int]) -> None:
        op, reads, writes, _ = self._stretch.program.instructions[i]
        node, self.nodes = self.nodes, self.nodes + 1
        cost = int(self._stretch.cost[i])
        self.arcs.append(_Arc(_SOURCE, node, cost, endless=not op.repeatable))
        self.cost_of[node] = cost
        self.arcs += [
            _Arc(self._node_of[read], node, endless=True)
            for read in dict.fromkeys(reads)
            if read in self._node_of
        ]
        for value in writes:
            if self._roots[value] not in self._stretch.free:
                owns = self._roots[value] == value
                self._add_value(value, node, value in needs, keepable=owns or not op.repeatable)

    def _add_value(self, value: int, writer: int, needed: bool, *, keepable: bool) -> None:
        size = int(self._stretch.amount[self._roots[value]])
        node = _SINK
        if not needed:
            node, self.nodes = self.nodes, self.nodes + 1
            self._node_of[value] = node
        self.arcs.append(_Arc(writer, node, 0, size * keepable, endless=not keepable))
        if keepable:
            self.keepers[value] = writer, node, size


class _Cuts:
    """The cuts of a network from free bytes to free operations, as what leaves the source's side.

    `first` is the source's side where operations come first and bytes second; iterating gives the
    nodes that leave it next, with whether the cut after them is a corner of the hull.
    """

    def __init__(self, network: _Network) -> None:
        self._network = network
        self._costs = sum(arc.cost for arc in network.arcs)
        self._bytes = sum(arc.nbytes for arc in network.arcs)
        self._gone = bytearray(network.nodes)
        self._gone[_SINK] = 1
        inner = list(range(2, network.nodes))
        self.first = {_SOURCE, *self._cut(inner, self._bytes + 1, 1)[1]}
        self._last = self._cut(inner, 1, self._costs + 1)[1]
        for node in inner:
            self._gone[node] = node not in self.first

    def __iter__(self) -> Iterator[tuple[list[int], bool]]:
        between = [node for node in sorted(self.first - self._last) if node != _SOURCE]
        ahead = [between] if between else []
        while ahead:
            nodes = ahead.pop()
            cost, nbytes = self._difference(nodes)
            flow, stays = self._cut(nodes, nbytes, cost)
            if stays:
                ahead.append(sorted(stays))
                ahead.append([node for node in nodes if node not in stays])
                continue
            blocks = list(_in_order(flow, nodes))
            for block in blocks:
                for node in block:
                    self._gone[node] = 1
                yield block, block is blocks[-1]

    def _difference(self, nodes: list[int]) -> tuple[int, int]:
        """Return the operations that a cut gains, and the bytes that it loses, if nodes leave."""
        leaving = set(nodes)
        cost = nbytes = 0
        for node in nodes:
            for arc in self._network.arcs_at[node]:
                if arc.tail in leaving and arc.head in leaving:
                    continue
                sign = 0
                if arc.head in leaving and not self._gone[arc.tail]:
                    sign = 1
                elif arc.tail in leaving and self._gone[arc.head]:
                    sign = -1
                cost += sign * arc.cost
                nbytes -= sign * arc.nbytes
        return cost, nbytes

    def _cut(self, nodes: list[int], price: int, byte_price: int) -> tuple[FlowNetwork, set[int]]:
        """Return the flow among some nodes, and which of them are on the source's side.

        Of the others, those that are gone count as the sink, the rest as the source.
        """
        place = dict(zip(nodes, range(2, len(nodes) + 2), strict=True))
        endless = price * self._costs + byte_price * self._bytes + 1
        room: dict[tuple[int, int], int] = {}
        for node in nodes:
            for arc in self._network.arcs_at[node]:
                tail = place.get(arc.tail, int(self._gone[arc.tail]))
                head = place.get(arc.head, int(self._gone[arc.head]))
                if tail == _SINK or head == _SOURCE or (arc.head == node and tail > _SINK):
                    continue  # the last is seen from its tail
                more = endless if arc.endless else price * arc.cost + byte_price * arc.nbytes
                room[tail, head] = room.get((tail, head), 0) + more
        network = FlowNetwork(len(nodes) + 2)
        for (tail, head), capacity in room.items():
            if capacity:
                network.add(tail, head, capacity)
        network.maximum(_SOURCE, _SINK)
        reached = network.reached(_SOURCE)
        return network, {node for node in nodes if place[node] in reached}


def _in_order(network: FlowNetwork, nodes: list[int]) -> Iterator[list[int]]:
    """Return what may leave the source's side together at no price, the earliest first.

    Nodes that lead to others in the residual network leave before these. `nodes` are in order, and
    node 2 of the network is the first of them.
    """
    parts = components(network, range(2, len(nodes) + 2))
    part_of = {node: k for k, part in enumerate(parts) for node in part}
    waiting = [0] * len(parts)
    behind: list[set[int]] = [set() for _ in parts]
    for k, part in enumerate(parts):
        behind[k] = {
            part_of[head] for node in part for head in network.residual(node) if head in part_of
        } - {k}
        for other in behind[k]:
            waiting[other] += 1
    ready = [(min(part), k) for k, part in enumerate(parts) if not waiting[k]]
    heapify(ready)
    while ready:
        _, k = heappop(ready)
        yield [nodes[node - 2] for node in sorted(parts[k])]
        for other in behind[k]:
            waiting[other] -= 1
            if not waiting[other]:
                heappush(ready, (min(parts[other]), other))
