"""Sizes as text: `1MiB`, `1.5GB`, `4096`; written in binary units, read in decimal ones too."""

from __future__ import annotations

import re
from fractions import Fraction
from math import isfinite
from typing import Any

from autodiff.checkpointing.binomial import whole_number
from autodiff.errors import PlannerError

UNITS = {
    "TiB": 2**40,
    "GiB": 2**30,
    "MiB": 2**20,
    "KiB": 2**10,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 10**3,
    "KB": 10**3,
    "B": 1,
}

SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>" + "|".join(UNITS) + r")(?![\w.])")


def bytes_text(nbytes: int) -> str:
    """Return a size in the largest binary unit that divides it, so that it reads back exactly."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if nbytes % UNITS[unit] == 0:
            return f"{nbytes // UNITS[unit]}{unit}"
    return str(nbytes)


def bytes_of(text: str) -> int | None:
    """Return the bytes of a size, rounded down; None for other text, such as a part of a byte."""
    match = SIZE.fullmatch(text.strip())
    if match is None:
        return None
    nbytes = Fraction(match["number"]) * UNITS[match["unit"]]
    return None if match["unit"] == "B" and nbytes.denominator != 1 else int(nbytes)


def byte_count(name: str, value: Any) -> int:
    """Return a size of at least one byte, given as a number or as text such as `8GiB`.

    Raises PlannerError for anything else.
    """
    nbytes = bytes_of(value) if isinstance(value, str) else value
    if isinstance(value, str) and nbytes is None:
        raise PlannerError(
            f"{name} = {value!r}; expected a whole number of bytes, or a size with a unit; give "
            "one such as 1.5GiB"
        )
    return whole_number(name, nbytes, 1)


def check_number(name: str, value: Any, least: float, expected: str, example: str) -> None:
    """Raise PlannerError unless a value is a finite number of at least `least`.

    `expected` says in words what it should be, `example` is one such.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not isfinite(value) or value < least:
        raise PlannerError(f"{name} = {value!r}; expected {expected}; give one such as {example}")
