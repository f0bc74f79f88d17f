"""The measured rows on the curves of the formulas, from the small shapes to the full size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from experiments.complexity.formulas import Complexity, Formula
from experiments.complexity.measuring import Row
from experiments.complexity.study import NEEDED, values_of
from experiments.figures import axes as scales
from experiments.figures.style import INK, WIDTH, Drawing, Look, finish, handle, marks, new_figure
from experiments.text import joined

CAPTION = (
    "How to read it: one panel a variable, on logarithmic axes. The lower curve is the formula "
    "with the other variables at the values that most rows have, with these rows as marks; "
    "the upper one has the others at full size, and the step predicted there. Colours show which "
    "polynomial of the maximum is the greatest."
)
COLOURS = ("#10254d", "#c0470c", "#00785a", "#6b2d80", "#e08a1e", "#4a9fce")
MEASURED, PREDICTED = Look("#10254d", "o", "none", 6), Look("#c0470c", "D", "none", 8)
POINTS = 60
NEEDED_WORDS = "bytes that a step needs"


def draw_marks(found: Complexity, rows: Sequence[Row], quantity: str = NEEDED) -> Drawing | None:
    """Draw a quantity by each variable; None where it was not decided or no row has it."""
    one = found.found.get(quantity)
    if one is None or one.formula is None or not rows:
        return None
    figure = new_figure(3.4)
    panels = np.atleast_1d(figure.subplots(1, len(found.letters), sharey=True))
    base = _base([row.shape for row in rows])
    pieces: dict[int, str] = {}
    heights: list[float] = []
    for place, axes in enumerate(panels):
        measured = sorted(
            (row.shape[place], values_of(row)[quantity])
            for row in rows
            if all(at == place or row.shape[at] == base[at] for at in range(len(base)))
        )
        low, high = min(base[place], found.full[place]), max(base[place] + 1, found.full[place])
        for others in (base, found.full):
            heights += _curve(axes, one.formula, others, place, (low, high), pieces)
        marks(axes, [x for x, _ in measured], [y for _, y in measured], MEASURED)
        if one.full is not None:
            marks(axes, [found.full[place]], [one.full], PREDICTED)
        heights += [float(y) for _, y in measured]
        label = f"{found.letters[place]} ({found.names[place]})"
        across = {*(x for x, _ in measured), found.full[place]}
        scales.swept_axis(axes, across, label, (WIDTH - 1.2) / len(panels))
    for axes in panels:
        scales.byte_axis(axes, heights, NEEDED_WORDS if axes is panels[0] else "")
    handles = [handle("measured", MEASURED, line=False)]
    if one.full is not None:
        handles.append(handle("predicted at full size", PREDICTED, line=False))
    reach = "in every row" if one.full is None else "in every row and at full size"
    title = f"One formula in {joined(found.letters)} gives the bytes of a step {reach}"
    return Drawing(title, CAPTION, finish(figure, title, "", handles))


def _base(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape that the lines of rows share: the most frequent value of each variable."""
    columns = list(zip(*shapes, strict=True))
    return tuple(max(sorted(set(column)), key=column.count) for column in columns)


def _curve(
    axes: Axes,
    formula: Formula,
    others: Sequence[int],
    place: int,
    ends: tuple[int, int],
    pieces: dict[int, str],
) -> list[float]:
    """Draw the formula along one variable, each stretch in the colour of its polynomial.

    The values that were drawn are returned.
    """
    xs = sorted({int(x) for x in np.geomspace(*ends, POINTS).round()})
    shapes = [(*others[:place], x, *others[place + 1 :]) for x in xs]
    ys = [float(formula(*shape)) for shape in shapes]
    active = [formula.active(*shape) for shape in shapes]
    for at in range(len(xs) - 1):
        colour = pieces.setdefault(active[at], COLOURS[len(pieces) % len(COLOURS)])
        axes.plot(xs[at : at + 2], ys[at : at + 2], color=colour or INK, linewidth=1.6)
    return ys
