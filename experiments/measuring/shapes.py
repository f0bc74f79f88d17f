"""Predicted points by the thousand, from shapes only.

A program and its schedule are made once for each depth, mode and planner, and evaluated at all
(d, b). A planner that looks at sizes is called shape by shape, and so is a graph that is built
slice by slice of the batch. The rows are those that `measure` gives point by point; what goes wrong
with one shape, or with all of a depth, fails those points only.

Bound: our engine's points. Plain PyTorch's are run on tensors without memory, one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from autodiff.checkpointing.parse import parse_planner
from autodiff.collector import paused_collector
from experiments.measuring.columns import computed_columns
from experiments.measuring.isolated import ChildError, in_child, needs_child
from experiments.measuring.point import failed_row, network_of, plan_of
from experiments.names import OK, TIMEOUT
from experiments.results.point import Point
from experiments.results.rows import PEAK_ROLES, Row, row_of
from profiler.folding import Prediction, fold
from profiler.prediction import SIZE_BLIND, symbols


def serves_shapes(point: Point) -> bool:
    """Return whether a point can be predicted together with others of its kind."""
    return not point.execute and point.engine == "autodiff"


def rows_from_shapes(points: Sequence[Point]) -> Iterator[Row]:
    """Yield the row of each point, in order.

    Points that differ only in width and batch are predicted together when the first of them comes.
    """
    kinds: dict[Point, list[Point]] = {}
    for point in points:
        kinds.setdefault(_kind(point), []).append(point)
    known: dict[Point, Row] = {}
    for point in points:
        if point not in known:
            known.update(_rows_of_a_kind(kinds.pop(_kind(point))))
        yield known.pop(point)


def predictions(points: Iterable[Point]) -> dict[Point, dict[str, int]]:
    """Return the columns of points of one kind, as plain integers."""
    points = list(points)
    with paused_collector():
        if points[0].micro_batches == 1 and isinstance(
            parse_planner(points[0].planner), SIZE_BLIND
        ):
            d, b = symbols()
            found = fold(*plan_of(points[0], network_of(points[0], d, b)))
            return _columns(
                points, found, {d: [point.d for point in points], b: [point.b for point in points]}
            )
        return {
            point: _columns([point], fold(*plan_of(point, network_of(point))), {})[point]
            for point in points
        }


def needed_bytes(points: Iterable[Point]) -> tuple[dict[Point, tuple[int, int]], dict[Point, str]]:
    """Return the predicted peak and all bytes of each point, and why the others would fail.

    All bytes are peak, parameters and inputs. PyTorch's points count as ours without a planner,
    which is a few activations less.
    """
    alike: dict[Point, list[Point]] = {}
    for point in points:
        ours = point
        if point.engine == "pytorch":
            ours = replace(
                point,
                engine="autodiff",
                planner="store_all",
                mode="full" if point.mode == "checkpointed" else point.mode,
            )
        alike.setdefault(ours, []).append(point)
    kinds: dict[Point, list[Point]] = {}
    for point in alike:
        kinds.setdefault(_kind(point), []).append(point)
    needed: dict[Point, tuple[int, int]] = {}
    failing: dict[Point, str] = {}
    for members in kinds.values():
        for point, row in _rows_of_a_kind(members).items():
            peak, given = row.peak_bytes, (row.parameter_bytes, row.input_bytes)
            if peak is not None and None not in given:
                whole = peak + sum(nbytes for nbytes in given if nbytes is not None)
                needed.update(dict.fromkeys(alike[point], (peak, whole)))
            else:
                failing.update(dict.fromkeys(alike[point], row.reason))
    return needed, failing


def _kind(point: Point) -> Point:
    """Return what points that are predicted together have in common."""
    return replace(point, d=0, b=0)


def _columns(
    points: Sequence[Point], found: Prediction, shapes: dict[Any, list[int]]
) -> dict[Point, dict[str, int]]:
    columns = {name: column.tolist() for name, column in found.at(shapes, roles=True).items()}
    return {
        point: {name: column[i] for name, column in columns.items()}
        for i, point in enumerate(points)
    }


def _rows_of_a_kind(points: Sequence[Point]) -> dict[Point, Row]:
    """Return the rows of points of one kind, one by one if they fail together."""
    try:
        found = (
            in_child(predictions, points[0], list(points))
            if needs_child(points[0])
            else predictions(points)
        )
    except Exception as error:  # a planner may be the user's own
        if len(points) == 1 or (isinstance(error, ChildError) and error.status == TIMEOUT):
            return {point: failed_row(point, error) for point in points}
        return {point: row for one in points for point, row in _rows_of_a_kind([one]).items()}
    return {point: _row(point, columns) for point, columns in found.items()}


def _row(point: Point, columns: dict[str, int]) -> Row:
    measured = {
        name: value
        for name, value in columns.items()
        if not name.startswith("peak_") or name in (*PEAK_ROLES, "peak_bytes")
    }
    try:
        return row_of(
            point,
            status=OK,
            predicted_peak_bytes=columns["peak_bytes"],
            **measured,
            **computed_columns(point),
        )
    except Exception as error:
        return failed_row(point, error)
