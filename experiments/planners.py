"""Planners by name: a string of the config to a planner, at the door."""

from __future__ import annotations

from typing import Any

from autodiff.checkpointing import StoreAll
from autodiff.errors import TapemeasureError
from experiments.errors import ConfigError


def planner_of(text: str) -> Any:
    """The planner that a string names."""
    if text == "store_all":
        return StoreAll()
    raise ConfigError(f"planner {text!r}; expected store_all")


def canonical_planner(key: str, value: Any) -> str:
    """The canonical string of a planner that a config names."""
    if not isinstance(value, str):
        raise ConfigError(f"{key}={value!r}; expected the name of a planner as a string, such as 'revolve(snapshots=3)' in quotes")
    try:
        return str(planner_of(value))
    except ConfigError:
        raise
    except TapemeasureError as error:
        raise ConfigError(f"{key}={value!r}: {error}") from error
