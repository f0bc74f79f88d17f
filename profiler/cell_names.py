"""What a cell of a chain is called: by the modules whose parameters it reads, else by its state.

Bound: a module is known by its parameters, so one without any is not named. Parameters have the
names of their modules where a program was traced with its model.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from autodiff.checkpointing.cells import Cells
from autodiff.instructions import PARAMETER


def cell_name(cells: Cells, k: int) -> str:
    """Return the name of cell k: such as `h.0.attn`, `ln_2 to mlp of h.0`, or `the cell from x_3`.

    Several modules go from the first that is read to the last, below the one that has them all.
    """
    modules = [name.split(".") for name in dict.fromkeys(_modules(cells, k))]
    if not modules:
        start = cells.starts[k]
        return "the first cell" if start is None else f"the cell from {cells.program.label(start)}"
    levels = zip(*modules, strict=False)
    shared = [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]
    below = list(dict.fromkeys(_below(name, len(shared)) for name in modules))
    whole = ".".join(shared)
    if "" in below:  # the module's own parameters are among them
        return _said(whole)
    if len(below) == 1:
        return _said(".".join([*shared, *below]))
    first, last = below[0], below[-1]
    if whole and not first[0].isdigit():
        return f"{first} to {last} of {whole}"
    return _said(*(".".join([*shared, name]) for name in (first, last)))


def _said(*names: str) -> str:
    """Return names as they are read: a bare number is said to be one of a module."""
    text = " to ".join(names)
    if not text[0].isdigit():
        return text
    return f"{'modules' if len(names) > 1 else 'module'} {text}"


def _modules(cells: Cells, k: int) -> Iterator[str]:
    """Yield the module of each parameter that a cell reads, as it is read."""
    program = cells.program
    for i in cells.forward[k]:
        for read in program.instructions[i].reads:
            owner = program.values[read].buffer
            if program.values[owner].role == PARAMETER and "." in program.label(owner):
                yield program.label(owner).rpartition(".")[0]


def _below(name: list[str], depth: int) -> str:
    """Return a module's name below so many levels: one level, and the number after it if any."""
    rest = name[depth:]
    count = 2 if len(rest) > 1 and rest[1].isdigit() else 1
    return ".".join(rest[:count])
