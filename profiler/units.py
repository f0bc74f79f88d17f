"""Numbers for people: bytes in binary units, counts with thousands separators, times.

This is the only place that writes bytes in units. Rounding never makes two sizes look equal where
`human_bytes_apart` writes them, nor gives a number that belongs to the next unit (1024 KiB).
"""

from __future__ import annotations

from itertools import count, pairwise

FIGURES = 4
"""The significant figures of a size, unless more are needed to tell two sizes apart."""

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def human_bytes(nbytes: float, figures: int = FIGURES) -> str:
    """Return bytes as `512 B`, `8 KiB`, `1.5 GiB`, with at most so many significant figures."""
    size = float(nbytes)
    for unit in _BYTE_UNITS:
        text = f"{size:.0f}" if unit == "B" else _rounded(size, figures)
        if abs(float(text)) < 1024 or unit == _BYTE_UNITS[-1]:
            break
        size /= 1024
    return f"{text} {unit}"


def human_bytes_apart(*sizes: float, figures: int = FIGURES) -> tuple[str, ...]:
    """Return sizes as `human_bytes` does, with as many figures as tell different ones apart."""
    ordered = sorted(sizes)
    for enough in count(figures):
        if all(
            human_bytes(one, enough) != human_bytes(next_, enough)
            for one, next_ in pairwise(ordered)
            if round(one) != round(next_)
        ):
            break
    return tuple(human_bytes(size, enough) for size in sizes)


def human_count(count: float) -> str:
    """Return a count with thousands separators."""
    return f"{count:,.0f}"


def human_ns(ns: float) -> str:
    """Return a time as `850 ns`, `12.3 µs`, `4.1 ms`, `2 s`, with three significant figures."""
    for unit, size in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
        text = f"{ns:.0f}" if unit == "ns" else _rounded(ns / size, 3)
        if abs(float(text)) < 1000:
            break
    return f"{text} {unit}"


def _rounded(number: float, figures: int) -> str:
    """Return a number to so many significant figures, whole digits kept, no zeros at the end."""
    digits = len(f"{abs(number):.0f}") if abs(number) >= 1 else 1
    text = f"{number:.{max(figures - digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
