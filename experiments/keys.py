"""Validators of configuration values.

Each returns the typed value, or raises ConfigError with one line that names the key.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autodiff.checkpointing.units import bytes_of
from experiments.errors import ConfigError

# Nothing larger can be measured, and a digit too many should not fill the memory with a graph.
MOST_LAYERS = 1_000_000
GREATEST_DIMENSION = 2**31 - 1
MOST_THREADS = 1024
LONGEST_TIMEOUT_S = 1_000_000.0


def mapping(key: str, value: Any) -> Mapping[str, Any]:
    """Return a mapping; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}={value!r}; expected keys with values; see --help")
    return value


def known_keys(where: str, given: Iterable[Any], known: Iterable[str]) -> None:
    """Raise ConfigError at the first key that is unknown."""
    known = tuple(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            name = key if str(key).isprintable() else repr(key)
            raise ConfigError(
                f"unknown key {where}{name}; expected one of {', '.join(known)}; {hint}"
            )


def listed(key: str, value: Any) -> list[Any]:
    """Return a value as a list: a bare one is a list of one."""
    if value is None or isinstance(value, Mapping):
        raise ConfigError(f"{key}={value!r}; expected a value, or a list of values such as [1,2,4]")
    items = list(value) if isinstance(value, list | tuple) else [value]
    if not items:
        raise ConfigError(f"{key}=[]; expected at least one value")
    return items


def each(key: str, value: Any, one: Callable[[str, Any], Any]) -> tuple[Any, ...]:
    """Return each distinct item of a list, validated by `one`."""
    return tuple(dict.fromkeys(one(key, item) for item in listed(key, value)))


def positive(key: str, value: Any, most: int = GREATEST_DIMENSION) -> int:
    """Return an integer from 1 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{key}={value!r}; expected an integer of at least 1")
    if value > most:
        raise ConfigError(f"{key}={value}; expected an integer of at most {most}")
    return value


def positives(key: str, value: Any, most: int = GREATEST_DIMENSION) -> tuple[int, ...]:
    """Return a list of integers from 1 to `most`."""
    return each(key, value, lambda where, item: positive(where, item, most))


def choice(key: str, value: Any, known: tuple[str, ...]) -> str:
    """Return one of the known names."""
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        raise ConfigError(
            f"{key}={value!r}; expected one of {', '.join(known)}"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    return str(value)


def choices(key: str, value: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return a list of known names."""
    return each(key, value, lambda where, item: choice(where, item, known))


def boolean(key: str, value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{key}={value!r}; expected true or false")
    return value


def printable(key: str, value: Any) -> str:
    """Return a nonempty text of printable characters."""
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise ConfigError(f"{key}={value!r}; expected a name")
    return value


def seconds(key: str, value: Any) -> float:
    """Return a positive time in seconds."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value <= LONGEST_TIMEOUT_S
    ):
        raise ConfigError(
            f"{key}={value!r}; expected seconds above 0 and up to {LONGEST_TIMEOUT_S:.0f}, "
            "or null for no limit"
        )
    return float(value)


def size(key: str, value: Any) -> int:
    """Return bytes, given as an integer or as text with a unit."""
    nbytes = bytes_of(value) if isinstance(value, str) else value
    if isinstance(nbytes, bool) or not isinstance(nbytes, int) or nbytes < 1:
        raise ConfigError(
            f"{key}={value!r}; expected bytes with a unit such as 24GiB, 512MiB or 16GB"
        )
    return nbytes
