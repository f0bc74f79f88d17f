"""What a timeline shows of a schedule: blocks of layers, lives of what is kept, moves.

Layer i is the product z_i and the activation x_{i+1}; it is *advanced* when it is run for the first
time, *recomputed* when it is run again, *reversed* when ∂z_i, ∂W_i and ∂x_i are computed. All is
read from the events of timelines.csv by their names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

import pandas as pd


@dataclass(frozen=True)
class Block:
    """Consecutive steps of one kind on one layer: from `start` to `stop`."""

    kind: str
    layer: int
    start: int
    stop: int


@dataclass(frozen=True)
class Bar:
    """A life from `start` to `stop`: of x_k, of z_k (`tape`), or of x_k's copy (`below`)."""

    k: int
    start: int
    stop: int
    kind: str = "state"


@dataclass(frozen=True)
class Move:
    """A step that stores x_k on a level below memory, or loads it."""

    kind: str
    k: int
    step: int


def blocks_of(rows: pd.DataFrame, n: int) -> list[Block]:
    """Return the blocks of a timeline; the loss is layer n + 1, and a move is in no block."""
    computed = rows.loc[rows["event"] == "computed", ["node", "phase", "step"]]
    kinds = {"forward": "advance", "recompute": "recompute"}
    moving = {move.step for move in moves_in(rows)}
    steps: list[tuple[str, int]] = []
    for kind, run in groupby(
        (
            ("move" if step in moving else kinds.get(phase, "reverse"), _layer(str(node), n))
            for node, phase, step in computed.itertuples(index=False, name=None)
        ),
        key=lambda step: step[0],
    ):
        layers = [layer for _, layer in run]
        known = [layer for layer in layers if layer is not None] or [n + 1]
        layer = known[0]
        for here in layers:  # a view or a part of the loss belongs to the layer before or after it
            layer = layer if here is None else here
            steps.append((kind, layer))
    blocks, start = [], 0
    for (kind, layer), run in groupby(steps):
        stop = start + len(list(run))
        blocks += [] if kind == "move" else [Block(kind, layer, start, stop)]
        start = stop
    return blocks


def moves_in(rows: pd.DataFrame) -> list[Move]:
    """Return the moves of a timeline: a value is loaded where it is made while its copy is there.

    The copy's name is that of the value with its level, such as x_3 on disk.
    """
    below: set[int] = set()
    moves = []
    for node, event, step in rows[["node", "event", "step"]].itertuples(index=False, name=None):
        found = re.fullmatch(r"x_(\d+)( on \w+)?", str(node))
        if not found:
            continue
        k, is_copy = int(found[1]), bool(found[2])
        if event == "computed" and (is_copy or k in below):
            moves.append(Move("store" if is_copy else "load", k, int(step)))
        if is_copy and event in ("computed", "freed"):
            (below.add if event == "computed" else below.discard)(k)
    return moves


def _layer(node: str, n: int) -> int | None:
    """Return the layer of a value: x_{i+1} is layer i's result, ∂x_i that of reversing it."""
    found = re.fullmatch(r"(∂?)([zxW])_(\d+)", node)
    if not found:
        return n + 1 if node in ("L", "∂L") else None
    k = int(found[3])
    return k - 1 if (found[1], found[2]) == ("", "x") else k


def bars_of(rows: pd.DataFrame, n: int) -> list[Bar]:
    """Return the lives that outlast the next step: what is kept, not passed on.

    They are those of x_2 … x_n, of z_1 … z_n, and of copies of x on a level below memory.
    """
    born: dict[str, int] = {}
    bars = []
    last = int(rows["step"].max()) if len(rows) else 0
    for node, event, step in rows[["node", "event", "step"]].itertuples(index=False, name=None):
        found = re.fullmatch(r"([xz])_(\d+)( on \w+)?", str(node))
        if not found or not (found[1] == "z" or found[3] or 2 <= int(found[2]) <= n):
            continue
        if event == "allocated":
            born[node] = int(step)
        elif event == "freed" and node in born:
            start = born.pop(node)
            kind = "below" if found[3] else "tape" if found[1] == "z" else "state"
            if int(step) > start + 1:
                bars.append(Bar(int(found[2]), start, min(int(step), last) + 1, kind))
    return bars
