"""Planners of a config by name, and what the theory says of a step under one.

Only `canonical_planner` and `code_of` import what an import path names, since a user typed it, and
that in a child process. All other functions take a planner's name from a file too, and so import
nothing.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from autodiff.checkpointing.parse import (
    PlannerDescription,
    describe_planner,
    parse_builtin_planner,
    parse_planner,
)
from autodiff.checkpointing.uniform import nearest_root
from autodiff.errors import PlannerError, TapemeasureError
from experiments.errors import ConfigError
from experiments.names import STORE_ALL
from experiments.theory.case import TheoryError
from experiments.theory.checkpointing import PLANNERS as WITH_A_FORMULA, Checkpointed, checkpointed
from profiler.available import available_bytes
from profiler.process import run_in_child


def canonical_planner(key: str, value: Any) -> str:
    """Return the canonical string of a planner that a config names.

    Raises ConfigError if it names none, or none that can be made.
    """
    if not isinstance(value, str):
        raise ConfigError(
            f"{key}={value!r}; expected the name of a planner as a string, such as "
            "'revolve(snapshots=3)' in quotes"
        )
    try:
        return _found(value).text
    except TapemeasureError as error:
        raise ConfigError(f"{key}={value!r}: {error}") from error


@dataclass(frozen=True)
class _Found:
    """A planner that can be made: its canonical string, and the file of its module, if any."""

    text: str
    file: str | None = None


@lru_cache(maxsize=256)
def _found(planner: str) -> _Found:
    """Return what a planner's string names; one of the user's is made in a child process.

    Its module may do anything when it is imported. Raises PlannerError.
    """
    if describe_planner(planner).is_builtin:
        return _Found(str(parse_builtin_planner(planner)))
    outcome = run_in_child(_made, planner, memory_bytes=available_bytes() // 2)
    if outcome.status != "ok":
        raise PlannerError(
            f"making it failed ({outcome.reason}); expected a planner that can be made"
        )
    made, refused = outcome.value
    if refused:
        raise PlannerError(refused)
    assert isinstance(made, _Found)
    return made


def _made(planner: str) -> tuple[_Found | None, str]:
    """Return what a planner's string names, or why it names nothing: what a child sends."""
    try:
        text = str(parse_planner(planner))
    except PlannerError as error:
        return None, str(error)
    return _Found(text, getattr(sys.modules.get(_module_of(text)), "__file__", None)), ""


def _module_of(planner: str) -> str:
    return describe_planner(planner).name.partition(":")[0]


def is_builtin(planner: str) -> bool:
    """Return whether a planner is one of ours, so that planning runs no code of the user's."""
    found = described(planner)
    return found is not None and found.is_builtin


def code_of(planner: str) -> str:
    """Return the hash of the file that a planner of the user's own is in: sixteen digits.

    Empty for a built-in planner, and where the module has no file or can no longer be imported.
    What that file imports is not in it. A planner that was not made yet is made.
    """
    if is_builtin(planner):
        return ""
    try:
        path = _found(planner).file
        return "" if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except (PlannerError, OSError):
        return ""


@lru_cache(maxsize=256)
def described(planner: str) -> PlannerDescription | None:
    """Return the name and the numbers of a planner, or None if the text names none."""
    try:
        return describe_planner(planner)
    except PlannerError:
        return None


def serves(planner: str, n: int) -> bool:
    """Return whether a planner can serve n layers: they cannot be cut into more segments than n."""
    segments = parameters_of(planner)["segments"]
    return segments is None or segments <= n


def has_counterpart(mode: str, planner: str) -> bool:
    """Return whether PyTorch has what a mode and a planner ask for: of planners, equal segments."""
    found = described(planner)
    return mode != "checkpointed" or (found is not None and found.name in (STORE_ALL, "uniform"))


def segments_of(planner: str, n: int) -> int:
    """Return the number of segments that a planner with a counterpart cuts n layers into."""
    found = described(planner)
    if found is None or found.name != "uniform":
        return 1
    return nearest_root(n) if found.segments is None else found.segments


def parameters_of(planner: str) -> dict[str, int | None]:
    """Return the columns that a planner fills: its snapshots and its segments."""
    found = described(planner)
    if found is None:
        return {"snapshots": None, "segments": None}
    return {"snapshots": found.snapshots, "segments": found.segments}


def theory_of(
    planner: str, n: int, d: int, b: int, activation: str, loss: str
) -> Checkpointed | None:
    """Return what the theory says of a step under a planner.

    None where there is no formula: for budgets, planners from elsewhere, and text that names none.
    """
    found = described(planner)
    if found is None or found.name not in WITH_A_FORMULA:
        return None
    if found.name == "revolve" and found.snapshots is None:
        return None
    columns = parameters_of(planner)
    try:
        return checkpointed(found.name, n, d, b, activation=activation, loss=loss, **columns)
    except TheoryError:
        return None


def operations_of(found: Checkpointed) -> int:
    """Return all operations of a step that the theory describes."""
    return sum(int(count.total) for count in found.operations.values())
