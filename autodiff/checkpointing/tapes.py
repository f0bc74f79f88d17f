"""The tapes that each cell of a chain offers: what is kept of it until it is reversed.

Between all that its stage reads and only the state that it starts from lie the sets on the lower
hull of bytes kept and operations run again, by exact minimum cuts within the cell (`mincut`). Each
is offered twice: what it lacks is computed before the stage, or late, value by value.

Bound: a tape within one cell; what is run again starts from this cell only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autodiff.checkpointing.cells import Cells
from autodiff.checkpointing.costs import in_whole_numbers
from autodiff.checkpointing.mincut import Keep, Stretch, kept_sets
from autodiff.checkpointing.runs import Runs
from autodiff.checkpointing.sizes import amounts
from autodiff.checkpointing.store import Tape

MOST_SETS = 8
"""The most kept sets of a cell; of more, corners of the hull evenly spread."""


def tapes_of(cells: Cells, runs: Runs, cost: np.ndarray) -> list[list[Tape]]:
    """Return the tapes of each cell, the first with all that its stage reads."""
    amount, _ = amounts(cells.program)
    whole = in_whole_numbers(cost)
    free = frozenset(runs.pinned | runs.given)
    return [_tapes(cells, k, runs, amount, whole, free) for k in range(len(cells))]


def _tapes(
    cells: Cells,
    k: int,
    runs: Runs,
    amount: np.ndarray,
    cost: np.ndarray,
    free: frozenset[int],
) -> list[Tape]:
    needs, state = cells.needs[k], cells.starts[k]
    full = Tape(frozenset(needs))
    inputs = () if state is None or runs.buffer[state] in free else (state,)
    if not needs or k < cells.lowest:
        return [full]
    stretch = Stretch(cells.program, cells.forward[k], needs, amount, cost, free, inputs)
    sets = [frozenset(keep.values) for keep in _some(kept_sets(stretch))]
    sets.append(frozenset(inputs))
    tapes = [full, *(Tape(kept, late) for kept in sets for late in (False, True))]
    return list(dict.fromkeys(tapes))


def _some(keeps: Sequence[Keep]) -> list[Keep]:
    corners = [keep for keep in keeps if keep.is_corner]
    chosen = keeps if len(keeps) <= MOST_SETS else corners
    if len(chosen) > MOST_SETS:
        places = np.linspace(0, len(chosen) - 1, MOST_SETS).round().astype(int)
        chosen = [chosen[place] for place in places.tolist()]
    return list(chosen)
