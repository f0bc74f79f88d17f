"""What must not run in the process that writes the journal: a user's planner, and very deep graphs.

A planner by import path may exit, crash, fork, start threads, change the working directory, close
files, allocate without end or wait for input. In a child of its own all of that ends with the
child, and its point becomes a row with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autodiff.errors import TapemeasureError
from experiments.errors import one_line
from experiments.grid.planners import is_builtin
from experiments.names import FAILED, OK, TIMEOUT
from experiments.results.point import Point
from experiments.results.rows import Row
from experiments.text import counted
from profiler.available import available_bytes
from profiler.process import preload_in_children, run_in_child

DEEP_LAYERS = 20_000
"""A graph of more layers may take minutes to build, so without a limit of the user's it has one."""
DEEP_LIMIT_S = 60.0
_TOO_DEEP = f"takes more than {DEEP_LIMIT_S:.0f} seconds"

# Loading takes seconds; PyTorch itself loads its compiler late, at the first dispatch mode.
preload_in_children(
    "torch._dynamo", "experiments.measuring.point", "experiments.measuring.timelines"
)
LEFT_FREE_BYTES = 2**30
"""What a child whose planner is the user's leaves to the rest of the system."""


class ChildError(TapemeasureError):
    """A child gave no value; `status` is that of the row."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def needs_child(point: Point) -> bool:
    """Return whether nothing of a point may be computed in the process that writes the journal."""
    return point.n > DEEP_LAYERS or not is_builtin(point.planner)


def in_child(
    function: Callable[..., Any], point: Point, *args: Any, timeout_s: float | None = None
) -> Any:
    """Return what an importable function gives in a child process, for a point or several like it.

    The child may allocate what the system has left. Raises TapemeasureError where the function
    raised one, and ChildError where the child gave no value for any other reason.
    """
    limit_s = DEEP_LIMIT_S if timeout_s is None and point.n > DEEP_LAYERS else timeout_s
    outcome = run_in_child(
        _tried,
        function,
        args,
        timeout_s=limit_s,
        threads=point.threads,
        memory_bytes=None if is_builtin(point.planner) else spare_bytes(),
    )
    if outcome.status == TIMEOUT and timeout_s is None:
        raise ChildError(
            TIMEOUT,
            f"a graph of {counted(point.n, 'layer')} {_TOO_DEEP}; expected fewer layers, or a "
            "timeout_s that allows more",
        )
    if outcome.status != OK:
        raise ChildError(outcome.status, outcome.reason)
    value, status, reason = outcome.value
    if status == OK:
        return value
    if status == FAILED:
        raise ChildError(FAILED, reason)
    raise TapemeasureError(reason)


def is_too_deep(row: Row) -> bool:
    """Return whether a row was given up because its graph took too long to build and run."""
    return row.status == TIMEOUT and _TOO_DEEP in row.reason


def spare_bytes() -> int:
    """Return the bytes that a child may take and leave the system enough to go on."""
    available = available_bytes()
    return max(available // 2, available - LEFT_FREE_BYTES)


def _tried(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, str, str]:
    """Return what a function gives, or a status and why there is nothing: what a child sends."""
    try:
        return function(*args), OK, ""
    except TapemeasureError as error:
        return None, "refused", one_line(error)
    except BaseException as error:  # a planner may be the user's own, and raise anything
        return None, FAILED, one_line(error)
