"""Sizes, counts and times as people read them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from profiler.units import human_bytes, human_bytes_apart, human_count, human_ns

GIB = 2**30


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1 MiB"),
        (1_047_000, "1022 KiB"),
        (8 * 2**20, "8 MiB"),
        (443 * 2**20 + 2**18, "443.2 MiB"),
        (24 * GIB, "24 GiB"),
        (2**40, "1 TiB"),
        (12345 * 2**40, "12345 TiB"),
        (-1536, "-1.5 KiB"),
    ],
)
def test_bytes(nbytes: int, text: str) -> None:
    """Bytes have four figures, no zeros at the end, and are below 1024 of their unit."""
    assert human_bytes(nbytes) == text


def test_figures() -> None:
    """A sentence may ask for fewer figures; whole digits always stay."""
    assert human_bytes(1234567, 3) == "1.18 MiB"
    assert human_bytes(1_047_000, 3) == "1022 KiB"
    assert human_bytes(23.95 * GIB, 2) == "24 GiB"


@pytest.mark.parametrize(
    ("sizes", "texts"),
    [
        ((int(23.951 * GIB), 24 * GIB), ("23.95 GiB", "24 GiB")),
        ((24 * GIB - 2**20, 24 * GIB), ("23.999 GiB", "24 GiB")),
        ((24 * GIB - 1, 24 * GIB), ("23.999999999 GiB", "24 GiB")),
        ((24 * GIB, 24 * GIB), ("24 GiB", "24 GiB")),
        ((2**20 - 1, 2**20), ("1023.999 KiB", "1 MiB")),
        ((5,), ("5 B",)),
        ((), ()),
    ],
)
def test_two_sizes_are_told_apart(sizes: tuple[int, ...], texts: tuple[str, ...]) -> None:
    """Different sizes never read the same, equal ones do, and no more figures than needed are
    used.
    """
    assert human_bytes_apart(*sizes) == texts


def test_neighbours_are_told_apart_at_any_size() -> None:
    """Sizes that differ by one byte differ as text, up to a pebibyte."""
    for power in range(51):
        sizes = (2**power - 1, 2**power, 2**power + 1)
        texts = human_bytes_apart(*sizes)
        assert len(set(texts)) == 3
        assert all(one != other for one, other in pairwise(texts))


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (850, "850 ns"),
        (999.6, "1 µs"),
        (12_345, "12.3 µs"),
        (999_600, "1 ms"),
        (4_100_000, "4.1 ms"),
        (2e9, "2 s"),
        (12_345e9, "12345 s"),
    ],
)
def test_times(ns: float, text: str) -> None:
    """Times have three figures in the unit that fits."""
    assert human_ns(ns) == text


def test_counts() -> None:
    """Thousands are apart."""
    assert human_count(1234567) == "1,234,567"
