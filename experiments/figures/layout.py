"""How wide figures are: a page's width, or a column with their panels below one another.

A column serves a phone, and a paper, where title and note are the caption's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec


@dataclass(frozen=True)
class Layout:
    """A width in inches, the width of a panel's axis at most, and whether there are words."""

    width: float = 9.6
    panel: float = 8.4
    is_column: bool = False
    has_words: bool = True


PAGE = Layout()
PHONE = Layout(width=4.4, panel=3.2, is_column=True)
PAPER = Layout(width=4.4, panel=3.2, is_column=True, has_words=False)
_CURRENT: ContextVar[Layout] = ContextVar("layout", default=PAGE)


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Draw figures in a layout."""
    token = _CURRENT.set(layout)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> Layout:
    """Return the layout that figures are drawn in."""
    return _CURRENT.get()


def inches_at_most(inches: float) -> float:
    """Return the length of an axis that was laid out for a page, in the present layout."""
    return min(inches, current().panel)


def stack(figure: Figure) -> None:
    """Put the panels of a figure below one another, each with the labels that it shared.

    Panels without a heading follow the one above them. The figure becomes as high as all of them
    together. Call it when everything is drawn.
    """
    height = float(figure.get_size_inches()[1])
    panels = [(axes, spot) for axes in figure.axes if (spot := axes.get_subplotspec()) is not None]
    panels = [(axes, spot) for axes, spot in panels if axes.get_visible()]
    if len(panels) < 2:
        figure.set_size_inches(current().width, height)
        return
    if not all(axes.get_title("left") for axes, _ in panels):
        panels.sort(key=lambda panel: (panel[1].colspan.start, panel[1].rowspan.start))
    labels = [(_shared(panels, spot, "x"), _shared(panels, spot, "y")) for _, spot in panels]
    heights = [axes.get_position().height * height for axes, _ in panels]
    grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
    for row, ((axes, _), (across, up)) in enumerate(zip(panels, labels, strict=True)):
        axes.set_subplotspec(grid[row, 0])
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.tick_params(labelbottom=True, labelleft=True)
    figure.set_size_inches(current().width, sum(heights) + _BETWEEN * len(panels))


_BETWEEN = 0.55
"""Inches for the labels and the heading of a panel."""


def _shared(panels: list[tuple[Axes, SubplotSpec]], spot: SubplotSpec, which: str) -> str:
    """Return the label that one panel of a row, or of a column, has for all of it."""
    span = "colspan" if which == "x" else "rowspan"
    alike = (axes for axes, its in panels if getattr(its, span) == getattr(spot, span))
    labels = (str(getattr(axes, f"get_{which}label")()) for axes in alike)
    return next(filter(None, labels), "")
