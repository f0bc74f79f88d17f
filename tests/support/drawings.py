"""What a drawing shows, and where its texts lie on one another."""

from __future__ import annotations

import itertools
from typing import Any

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

ELSEWHERE = ("frontier", "schedules", "growth", "engines")
"""Figures whose rows this sweep lacks: test_figures_checkpointing.py draws them."""

OF_BEST_PLANS = ("best_plans", "storage_levels")
"""Figures of another table than a sweep's rows: test_best_plans.py draws them."""


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that a figure shows, with its box in pixels."""
    figure.draw_without_rendering()
    found: list[Any] = [*figure.texts]
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        found += [axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title, *axes.texts]
        for axis, (low, high) in (
            (axes.xaxis, sorted(axes.get_xlim())),
            (axes.yaxis, sorted(axes.get_ylim())),
        ):
            ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)
            found += [label for place, label in ticks if low <= place <= high]
    for legend in figure.legends:
        found += legend.get_texts()
    return [
        (text.get_text(), text.get_window_extent())
        for text in found
        if text.get_visible() and text.get_text().strip()
    ]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """The pairs of texts that lie on one another, and each text that is cut off by the edge."""
    found = texts(figure)
    page = Bbox.from_extents(-0.5, -0.5, figure.bbox.width + 0.5, figure.bbox.height + 0.5)
    cut = [
        (text, "the edge")
        for text, box in found
        if not (page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1))
    ]
    pairs = itertools.combinations(found, 2)
    return cut + [(one, other) for (one, box), (other, its) in pairs if box.overlaps(its)]


def unlabelled(figure: Figure) -> list[str]:
    """The panels that neither say what an axis is nor share the label of their row or column."""
    shown = [axes for axes in figure.axes if axes.get_visible()]
    left = {axes: axes.get_position().x0 for axes in shown}
    base = {axes: axes.get_position().y0 for axes in shown}
    return [
        f"{which} of panel {index}"
        for index, axes in enumerate(shown)
        for which, place in (("x", left), ("y", base))
        if not any(
            getattr(other, f"get_{which}label")()
            for other in shown
            if abs(place[other] - place[axes]) < 0.01
        )
    ]
