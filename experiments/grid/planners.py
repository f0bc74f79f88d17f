"""Planners by name: the strings of a config to planners, at the door, and what the theory says of the step under one."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from autodiff import checkpointing
from autodiff.errors import TapemeasureError
from experiments import theory
from experiments.errors import ConfigError, one_line
from experiments.theory.checkpointing import PLANNERS as WITH_A_FORMULA, Checkpointed, checkpointed

_SEGMENTS = re.compile(r"\bsegments=(\d+)")


def canonical_planner(key: str, value: Any) -> str:
    """The canonical string of a planner that a config names."""
    if not isinstance(value, str):
        raise ConfigError(
            f"{key}={value!r}; expected the name of a planner as a string, such as 'revolve(snapshots=3)' in quotes"
        )
    try:
        return str(checkpointing.parse_planner(value))
    except TapemeasureError as error:
        raise ConfigError(f"{key}={value!r}: {error}") from error
    except (
        Exception,
        SystemExit,
    ) as error:  # a planner may be the user's own, and so may be what its module does
        raise ConfigError(
            f"{key}={value!r}: making it failed ({one_line(error)}); expected a planner that can be made"
        ) from error


def serves(planner: str, n: int) -> bool:
    """Whether a planner has something to say of n layers: a chain cannot be cut into more segments than it has layers."""
    segments = _SEGMENTS.search(planner)
    return segments is None or int(segments.group(1)) <= n


def has_counterpart(mode: str, planner: str) -> bool:
    """Whether PyTorch has what a mode and a planner ask for: of the planners, equal segments alone."""
    return mode != "checkpointed" or planner == "store_all" or planner.startswith("uniform")


@lru_cache(maxsize=256)
def _parameters(planner: str) -> tuple[int | None, int | None]:
    made = checkpointing.parse_planner(planner)
    return getattr(made, "snapshots", None), getattr(made, "segments", None)


def parameters_of(planner: str) -> dict[str, int | None]:
    """The columns that a planner fills: its snapshots and its segments."""
    snapshots, segments = _parameters(planner)
    return {"snapshots": snapshots, "segments": segments}


def theory_of(
    planner: str, n: int, d: int, b: int, activation: str, loss: str
) -> Checkpointed | None:
    """What the theory says of a step under a planner; None where it has no formula: budgets, and planners from elsewhere."""
    name = planner.split("(")[0]
    columns = parameters_of(planner)
    if name not in WITH_A_FORMULA or (name == "revolve" and columns["snapshots"] is None):
        return None
    return checkpointed(name, n, d, b, activation=activation, loss=loss, **columns)


def operations_of(found: Checkpointed) -> int:
    """All operations of a step that the theory describes."""
    counts: list[theory.Operations] = list(found.operations.values())
    return sum(int(count.total) for count in counts)
