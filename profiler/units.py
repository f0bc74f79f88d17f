"""Numbers for people: bytes in binary units, counts with their thousands apart, times in the unit that fits."""

from __future__ import annotations


def human_bytes(nbytes: float) -> str:
    """Bytes as `512 B`, `8.0 KiB`, `1.5 GiB`."""
    size = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} B" if unit == "B" else f"{size:.4g} {unit}"


def human_count(count: float) -> str:
    """A count with its thousands apart."""
    return f"{count:,.0f}"


def human_ns(ns: float) -> str:
    """A time as `850 ns`, `12.3 µs`, `4.1 ms`, `2.0 s`."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"
