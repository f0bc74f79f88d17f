"""Amounts as coefficients over terms, the same few integers for a grid, a shape, or a formula.

An amount (bytes, operations) is an integer or a polynomial of sympy symbols with integer
coefficients. A **term** is one of its products of symbols, such as b·d or d², or 1. A term is at
least 1 wherever every symbol is.

Bound: exact at any size. Arithmetic is in 64 bits where that is proved to suffice, in Python's
integers elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autodiff.errors import GraphError

Symbols = Mapping[Any, Any]
"""What each symbol stands for: an integer, or an array of integers."""

_SAFE = 2**63


def in_terms(amounts: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
    """Return the terms that amounts are made of, and one row of coefficients for each amount.

    Raises GraphError for an amount that is not a polynomial with integer coefficients.
    """
    places: dict[Any, int] = {}
    rows = [
        {
            places.setdefault(term, len(places)): count
            for term, count in _coefficients(amount).items()
        }
        for amount in amounts
    ]
    matrix = [[row.get(place, 0) for place in range(len(places))] for row in rows]
    return list(places), _integers(matrix, (len(amounts), len(places)))


def _coefficients(amount: Any) -> dict[Any, int]:
    if isinstance(amount, int | np.integer):
        return {1: int(amount)} if amount else {}
    if not hasattr(amount, "free_symbols"):
        raise GraphError(
            f"an amount is {amount!r}; expected an integer, or an expression of sympy symbols; "
            "give such dimensions"
        )
    found = amount.expand().as_coefficients_dict()
    if not all(count.is_Integer for count in found.values()):
        raise GraphError(
            f"the amount {amount} has a fraction in it; expected whole numbers of symbols; choose "
            "symbols that divide"
        )
    return {term: int(count) for term, count in found.items() if count}


def _integers(numbers: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return integers as an array: of 64 bits, or of Python's where they need more."""
    held = np.array(numbers, dtype=object).reshape(shape)
    return held.astype(np.int64) if all(-_SAFE < number < _SAFE for number in held.flat) else held


def at_points(terms: Sequence[Any], symbols: Symbols) -> np.ndarray:
    """Return the value of each term, a row each, at the points that `symbols` gives.

    `symbols` holds arrays of one length. Raises GraphError for a symbol that is given no value, and
    for a term that is not a product of symbols.
    """
    columns = {symbol: np.atleast_1d(np.asarray(values)) for symbol, values in symbols.items()}
    points = max((len(column) for column in columns.values()), default=1)
    factors = [_factors(term, columns) for term in terms]
    greatest = {
        symbol: max(map(abs, (int(column.max(initial=0)), int(column.min(initial=0)))))
        for symbol, column in columns.items()
    }
    kind: Any = (
        np.int64 if all(_product(greatest, powers) < _SAFE for powers in factors) else object
    )
    columns = {symbol: column.astype(kind) for symbol, column in columns.items()}
    values = np.ones((len(terms), points), dtype=kind)
    for row, powers in zip(values, factors, strict=True):
        for symbol, power in powers.items():
            row *= columns[symbol] ** power
    return values


def _factors(term: Any, known: Mapping[Any, Any]) -> dict[Any, int]:
    """Return the symbols of a term with their powers."""
    if term == 1:
        return {}
    powers = {symbol: int(power) for symbol, power in term.as_powers_dict().items()}
    for symbol in powers:
        if symbol not in known:
            raise GraphError(
                f"{symbol} has no value; expected one for each symbol of {term}; "
                f"given: {', '.join(map(str, known)) or 'none'}"
            )
    return powers


def _product(greatest: Mapping[Any, int], powers: Mapping[Any, int]) -> int:
    value = 1
    for symbol, power in powers.items():
        value *= greatest[symbol] ** power
    return value


def combined(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return `rows @ values` to the last digit: amounts by terms, times terms by points."""
    most = sum(_most(rows[:, place]) * _most(values[place]) for place in range(len(values)))
    if most >= _SAFE or object in (rows.dtype, values.dtype):
        rows, values = rows.astype(object), values.astype(object)
    total: np.ndarray = rows @ values
    return total


def _most(numbers: np.ndarray) -> int:
    return max(abs(int(numbers.max(initial=0))), abs(int(numbers.min(initial=0))))


def counted_from_one(rows: np.ndarray, terms: Sequence[Any]) -> np.ndarray:
    """Return the same amounts with each term counted from 1 on, so that none is negative.

    This holds where all symbols are positive integers. What an amount has where every term is 1 is
    then its constant: 4·b·d + 2 is never more than 4·b·d + 2·d².
    """
    if any(
        not (symbol.is_integer and symbol.is_positive)
        for term in terms
        if term != 1
        for symbol in term.free_symbols
    ):
        return rows
    if sum(_most(column) for column in rows.T) >= _SAFE:
        rows = rows.astype(object)
    others = [place for place, term in enumerate(terms) if term != 1]
    return np.concatenate([rows[:, others], rows.sum(axis=1, keepdims=True)], axis=1)


def expressions(rows: np.ndarray, terms: Sequence[Any]) -> list[Any]:
    """Return each row as an amount again: an integer, or an expression."""
    return [
        sum((count * term for count, term in zip(row, terms, strict=True) if count), 0)
        for row in rows.tolist()
    ]
