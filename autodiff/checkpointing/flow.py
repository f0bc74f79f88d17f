"""Maximum flow in whole numbers, and the components of what it leaves.

Source: E. A. Dinic 1970 (blocking flows in layered networks); R. E. Tarjan 1972 (components).
Bound: O(V²E); on the networks of `mincut`, whose paths are short, close to linear. Capacities are
Python integers of any size, so that no cut is missed by rounding.
"""

from __future__ import annotations

from collections.abc import Iterable


class FlowNetwork:
    """Nodes 0, 1, … with arcs; arc 2k goes forward, and 2k + 1 is its way back."""

    def __init__(self, nodes: int) -> None:
        self._head: list[int] = []
        self._room: list[int] = []
        self._arcs: list[list[int]] = [[] for _ in range(nodes)]

    def add(self, tail: int, head: int, capacity: int) -> None:
        """Add an arc."""
        self._arcs[tail].append(len(self._head))
        self._head.append(head)
        self._room.append(capacity)
        self._arcs[head].append(len(self._head))
        self._head.append(tail)
        self._room.append(0)

    def maximum(self, source: int, sink: int) -> int:
        """Send as much as fits from the source to the sink; return what was sent."""
        sent = 0
        while (layer := self._layers(source, sink)) is not None:
            sent += self._blocking(source, sink, layer)
        return sent

    def reached(self, source: int) -> set[int]:
        """Return the nodes that more could be sent to: the smallest source side of a least cut."""
        found, new = {source}, [source]
        while new:
            for head in self.residual(new.pop()):
                if head not in found:
                    found.add(head)
                    new.append(head)
        return found

    def residual(self, node: int) -> Iterable[int]:
        """Return the nodes that more could be sent to directly."""
        return (self._head[arc] for arc in self._arcs[node] if self._room[arc])

    def _layers(self, source: int, sink: int) -> list[int] | None:
        """Return how many arcs each node is from the sink (−1: farther than the source).

        Return None where the sink cannot be reached.
        """
        head, room, arcs = self._head, self._room, self._arcs
        layer = [-1] * len(arcs)
        layer[sink] = 0
        new = [sink]
        while new and layer[source] < 0:
            following = []
            for node in new:
                for arc in arcs[node]:
                    if room[arc ^ 1] and layer[head[arc]] < 0:
                        layer[head[arc]] = layer[node] + 1
                        following.append(head[arc])
            new = following
        return layer if layer[source] >= 0 else None

    def _blocking(self, source: int, sink: int, layer: list[int]) -> int:
        """Send along shortest paths until each of them is full; return what was sent."""
        head, room, arcs = self._head, self._room, self._arcs
        tried = [0] * len(arcs)
        sent = 0
        path: list[int] = []
        node = source
        while True:
            if node == sink:
                least = min([room[arc] for arc in path])
                sent += least
                full = 0
                for at in range(len(path) - 1, -1, -1):
                    arc = path[at]
                    room[arc] -= least
                    room[arc ^ 1] += least
                    if not room[arc]:
                        full = at
                node = head[path[full] ^ 1]
                del path[full:]
            nearer, ways = layer[node] - 1, arcs[node]
            for at in range(tried[node], len(ways)):
                arc = ways[at]
                if room[arc] and layer[head[arc]] == nearer:
                    tried[node] = at
                    path.append(arc)
                    node = head[arc]
                    break
            else:
                layer[node] = -1
                if not path:
                    return sent
                node = head[path.pop() ^ 1]


def components(network: FlowNetwork, nodes: Iterable[int]) -> list[list[int]]:
    """Return the strongly connected components of the residual arcs among some nodes.

    A component comes after all that it leads to.
    """
    inside = set(nodes)
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    open_nodes: list[int] = []
    found: list[list[int]] = []
    for root in sorted(inside):
        work = [] if root in number else [root]
        ways = {}
        while work:
            node = work[-1]
            if node not in number:
                number[node] = lowest[node] = len(number)
                open_nodes.append(node)
                ways[node] = iter([head for head in network.residual(node) if head in inside])
            for head in ways[node]:
                if head not in number:
                    work.append(head)
                    break
                lowest[node] = min(lowest[node], lowest[head])
            else:
                work.pop()
                if work:
                    lowest[work[-1]] = min(lowest[work[-1]], lowest[node])
                if lowest[node] == number[node]:
                    component: list[int] = []
                    while not component or component[-1] != node:
                        component.append(open_nodes.pop())
                        lowest[component[-1]] = len(inside)
                    found.append(component)
    return found
