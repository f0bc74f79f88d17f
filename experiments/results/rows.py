"""Rows of results: one frozen record, from which journals, tables and frames are made.

A `Row` cannot be made with a value that is not of its column's kind, so rows are the same wherever
they come from. Reading makes numbers and texts of a file and nothing else: no text of a file is
imported, called or evaluated.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from autodiff.instructions import ROLES
from experiments.errors import ResultsError
from experiments.names import (
    AUDITS,
    AUDITS_RUN,
    AXES,
    DTYPES,
    ENGINES,
    GREATEST_WHOLE,
    MEASURED,
    MODES,
    NETWORKS,
    OK,
    PREDICTED,
    SOURCE,
    SOURCES,
    STATUSES,
)
from experiments.results.point import KeyOfShape, Point
from experiments.text import in_one_line
from experiments.theory.case import ACTIVATIONS, LOSSES

Value = str | int | float | bool | None
"""What a column can hold."""

KNOWN = {
    "status": STATUSES, "mode": MODES, "network": NETWORKS, "activation": ACTIVATIONS,
    "loss": LOSSES, "dtype": DTYPES, "engine": ENGINES, "source": SOURCES,
}  # fmt: skip


class RowError(ResultsError):
    """A row has a value that its column cannot hold, or a key that is not its point's."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of results; the fields are the columns, in order.

    Text that is not there is empty, any other value None. Counts are operations or bytes; `wall_ns`
    are nanoseconds, `frequency_mhz` is in MHz. `source` says whether the step was run.
    Raises RowError if a value is not of its column's kind.
    """

    key: str
    part: str
    network: str
    activation: str
    loss: str
    dtype: str
    n: int
    d: int
    b: int
    mode: str
    wrt: str = ""
    planner: str
    snapshots: int | None = None
    segments: int | None = None
    planner_code: str = ""
    engine: str
    micro_batches: int
    source: str
    status: str
    reason: str = ""
    device: str
    threads: int
    ops: int | None = None
    ops_forward: int | None = None
    ops_recompute: int | None = None
    ops_backward: int | None = None
    multiplications: int | None = None
    additions: int | None = None
    comparisons: int | None = None
    elementary: int | None = None
    matmul_flops: int | None = None
    peak_bytes: int | None = None
    peak_activation_bytes: int | None = None
    peak_gradient_bytes: int | None = None
    peak_parameter_gradient_bytes: int | None = None
    peak_temporary_bytes: int | None = None
    live_after_bytes: int | None = None
    parameter_bytes: int | None = None
    input_bytes: int | None = None
    predicted_peak_bytes: int | None = None
    theory_ops: int | None = None
    theory_peak_bytes: int | None = None
    wall_ns_forward: float | None = None
    wall_ns_recompute: float | None = None
    wall_ns_backward: float | None = None
    wall_ns_forward_spread: float | None = None
    wall_ns_recompute_spread: float | None = None
    wall_ns_backward_spread: float | None = None
    repeats: int
    peak_rss_bytes: int | None = None
    baseline_rss_bytes: int | None = None
    process_reason: str = ""
    audit: str = ""
    load_average: float | None = None
    frequency_mhz: float | None = None
    concurrent: bool = False

    def __post_init__(self) -> None:
        """Check every column."""
        check_columns({column: (value,) for column, value in vars(self).items()})


def check_columns(columns: Mapping[str, Sequence[Value]]) -> None:
    """Raise RowError if a value of some rows is not of its column's kind; all columns are given.

    Each value is checked once, however many rows have it.
    """
    distinct = {column: _distinct(columns[column]) for column in COLUMNS}
    for column, (is_fine, expected) in _CHECKS.items():
        for value in distinct[column]:
            if not is_fine(value):
                raise RowError(f"{column}={value!r}; expected {expected}")
    for column, known in KNOWN.items():
        for value in distinct[column]:
            if value not in known:
                raise RowError(f"{column}={value!r}; expected one of {', '.join(known)}")
    for column in (*_NOT_EMPTY, *COUNTED):
        empty = [value for value in distinct[column] if value in (None, "")]
        if empty and (column in _NOT_EMPTY or _lacks_number(columns["status"], columns[column])):
            raise RowError(f"{column} is empty; expected a value")


def _distinct(values: Sequence[Any]) -> Collection[Value]:
    """Return values that are fine only if all are: each once, of whole numbers the ends.

    1, 1.0 and True are different values.
    """
    if len(values) == 1:
        return values
    kinds = set(map(type, values))
    if kinds == {int}:
        return {min(values), max(values)}
    try:
        pairs = zip(map(type, values), values, strict=True)
        return set(values) if len(kinds) == 1 else [value for _, value in set(pairs)]
    except TypeError:  # a list or a mapping, which no column can hold
        return values


def _lacks_number(statuses: Sequence[Value], values: Sequence[Value]) -> bool:
    """Return whether a row with numbers lacks this one."""
    return any(
        status == OK and value is None for status, value in zip(statuses, values, strict=True)
    )


def _is_text(value: object) -> bool:
    """Return whether a value can stand in one line of a file: no zero, no half a surrogate pair."""
    if not isinstance(value, str) or "\0" in value or "\n" in value or "\r" in value:
        return False
    return value.isascii() or value.encode(errors="ignore").decode() == value


def _is_whole(value: object) -> bool:
    return value is None or (type(value) is int and 0 <= value <= GREATEST_WHOLE)


def _is_positive(value: object) -> bool:
    return type(value) is int and 0 < value <= GREATEST_WHOLE


def _is_real(value: object) -> bool:
    return value is None or (isinstance(value, float | int) and 0 <= value <= sys.float_info.max)


_MOST = f"{GREATEST_WHOLE}, the most that a table can hold"
_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "str": (_is_text, "one line of text"),
    "int": (_is_positive, f"a whole number from 1 to {_MOST}"),
    "int | None": (_is_whole, f"a whole number from 0 to {_MOST}"),
    "float | None": (_is_real, "a number from 0"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
}
_DEFAULTS: dict[str, Any] = {
    field.name: MEASURED if field.name == SOURCE else field.default
    for field in fields(Row)
    if field.name == SOURCE or field.default is not MISSING
}
_COLUMNS = {field.name: str(field.type) for field in fields(Row)}
COLUMNS = tuple(_COLUMNS)
TEXT_COLUMNS = tuple(column for column, kind in _COLUMNS.items() if kind == "str")
WHOLE_COLUMNS = tuple(column for column, kind in _COLUMNS.items() if kind.startswith("int"))
REAL_COLUMNS = tuple(column for column, kind in _COLUMNS.items() if kind.startswith("float"))
_CHECKS = {column: _KINDS[kind] for column, kind in _COLUMNS.items()}
PEAK_ROLES = tuple(f"peak_{role}_bytes" for role in ROLES[2:])
"""The columns of what the peak consists of, caller-owned buffers aside."""
COUNTED = COLUMNS[COLUMNS.index("ops") : COLUMNS.index("input_bytes") + 1]
"""What every row has whose status is ok, whichever engine ran the step."""
_NOT_EMPTY = ("key", "part", "planner")
_OF_POINT = tuple(
    field.name for field in fields(Point) if field.name in COLUMNS and field.name != "audit"
)


def row_of(point: Point, **columns: Value) -> Row:
    """Return the row of a point with the columns that are given; reasons are put into one line."""
    given: dict[str, Any] = {name: getattr(point, name) for name in _OF_POINT}
    given |= columns
    for name in ("reason", "process_reason"):
        given[name] = in_one_line(str(given.get(name) or ""))
    return Row(**given, key=point.key, source=MEASURED if point.execute else PREDICTED)


def row_of_fields(given: Mapping[str, Any]) -> Row:
    """Return the row that a file holds as plain values, as `columns_of_fields` takes several."""
    columns: dict[str, Any] = columns_of_fields([given])
    return Row(**{column: value for column, (value,) in columns.items()})


def columns_of_fields(given: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Value]]:
    """Return the columns of rows that a file holds as plain values; unknown fields are ignored.

    Files of older versions have no column `source`: there the key says whether the step was run.
    Raises RowError if rows have different fields, a value is not of its column's kind, or a key is
    not that of the row's point.
    """
    present = given[0].keys()
    if any(fields.keys() != present for fields in given):
        raise RowError("rows have different fields; expected the same in each")
    columns: dict[str, Sequence[Value]] = {
        column: [fields[column] for fields in given] for column in COLUMNS if column in present
    }
    sources = columns.get(SOURCE, (None,) * len(given))
    for column, kind in _COLUMNS.items():
        values = columns.get(column, (None,) * len(given))
        if None in values and not kind.endswith("None"):
            if column not in _DEFAULTS:
                raise RowError(f"a column is missing: {column}; expected a value in each row")
            values = [_DEFAULTS[column] if value is None else value for value in values]
        columns[column] = values
    columns = {column: columns[column] for column in COLUMNS}
    check_columns(columns)
    return {**columns, SOURCE: _sources_by_key(columns, sources)}


def _sources_by_key(
    columns: Mapping[str, Sequence[Any]], given: Sequence[Value]
) -> Sequence[Value]:
    """Return the source with which each row's point has the row's key, the given one if any.

    What a row does not say of its point is tried: which audits were asked for, and whether process
    memory was. Rows that differ in their shape only share what is tried.
    Raises RowError where a row's point has its key with no source.
    """
    labels = zip(*(columns[name] for name in _OF_POINT if name not in AXES), strict=True)
    tried: dict[tuple[Any, ...], list[tuple[Value, KeyOfShape]]] = {}
    found = []
    for place, (source, *kind) in enumerate(zip(given, labels, columns["audit"], strict=True)):
        ways = tried.get(like := (source, *kind))
        if ways is None:
            ways = tried[like] = list(
                _ways({name: columns[name][place] for name in COLUMNS}, source)
            )
        key, shape = columns["key"][place], [columns[axis][place] for axis in AXES]
        way = next((way for way in ways if way[1](*shape) == key), None)
        if way is None:
            raise RowError(f"key={key!r}; expected the key of the point that the row describes")
        if way is not ways[0]:  # most likely that of the next row as well
            ways.remove(way)
            ways.insert(0, way)
        found.append(way[0])
    return found


def _ways(row: Mapping[str, Any], source: Value) -> Iterator[tuple[Value, KeyOfShape]]:
    """Yield the sources that a row can have, each with the key that its point then has."""
    shared = {name: row[name] for name in _OF_POINT}
    asked = sorted(AUDITS, key=lambda audit: audit != AUDITS_RUN.get(row["audit"]))
    sources = SOURCES if source is None else (source,)
    for one, audit, measures in itertools.product(sources, asked, (True, False)):
        execute = one == MEASURED
        yield (
            one,
            Point(**shared, audit=audit, execute=execute, measure_process=measures).key_of_shape,
        )
