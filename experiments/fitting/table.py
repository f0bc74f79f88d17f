"""Complexity formulas found in measured rows: polynomials, maxima of polynomials, their table.

Operations are one polynomial in n, b and d: twelve independent rows, the smallest shapes there are,
determine it in exact rational arithmetic, and every other row is held out to check it. Peaks are a
maximum of polynomials (`maximum.py`). A formula is claimed only when the rows decide it; otherwise
the answer is `undecided`, with the reason and the values to add.
Bound: polynomials on {1,n}x{1,b}x{1,d,d**2}. It uses no theory, network or measuring, and fits no
seconds and nothing that scatters: one row that is off by one leaves nothing decided.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import pandas as pd

from experiments.fitting.maximum import fit_maximum
from experiments.fitting.polynomials import (
    MONOMIALS,
    Formula,
    Polynomial,
    independent_rows,
    solve,
)
from experiments.fitting.result import (
    UNDECIDED,
    Fit,
    FitError,
    Row,
    checked,
    contradiction,
    decided,
    each_monomials,
    lacks_rank,
    monomials_at,
    name,
    undecided,
)
from experiments.text import PRETTY

GROUP_COLUMNS = ("network", "activation", "loss", "dtype", "engine", "planner", "mode")
COMPLEXITY_COLUMNS = (
    *GROUP_COLUMNS,
    "quantity",
    "formula",
    "big_o",
    "pretty_formula",
    "pretty_order",
    "valid_from_n",
    "exact",
    "rows",
    "reason",
)
QUANTITIES = {
    "ops": "polynomial",
    "ops_forward": "polynomial",
    "ops_backward": "polynomial",
    "matmul_flops": "polynomial",
    "peak_bytes": "maximum",
    "live_after_bytes": "maximum",
    "parameter_bytes": "maximum",
}
MODES_WITH_ANY_WRT = ("only", "checkpointed")


def fit_polynomial(rows: Iterable[Sequence[int]]) -> Fit:
    """Return the polynomial through the smallest rows (n, d, b, value), checked on all others."""
    measured = checked(rows)
    if not measured:
        return undecided(0, "no rows were given: measure some")
    problem = contradiction(measured) or lacks_rank(measured)
    if problem:
        return undecided(len(measured), problem)
    smallest = sorted(measured, key=lambda row: (row[0] * row[1] * row[2], row))
    training = [smallest[index] for index in independent_rows(each_monomials(smallest))]
    if len(training) == len(measured):
        beyond = 2 * max(row[0] for row in measured)
        return undecided(
            len(measured),
            f"all {len(training)} rows are needed to determine a polynomial, none is held out: "
            f"add n={beyond}",
        )
    found = solve(monomials_at(training), [row[3] for row in training])
    polynomial = Polynomial.of(dict(zip(MONOMIALS, found, strict=True)))
    wrong = [row for row in smallest if polynomial(*row[:3]) != row[3]]
    if wrong:
        n, d, b, value = wrong[0]
        return undecided(
            len(measured),
            f"the polynomial through the {len(training)} smallest independent rows gives "
            f"{polynomial(n, d, b)} at {name((n, d, b))}, "
            f"but {value} was measured ({len(wrong)} of {len(measured) - len(training)} rows "
            "held out differ): "
            "measure these again, or fit a maximum",
        )
    return decided([polynomial], min(row[0] for row in measured), len(measured))


def fit_quantity(
    rows: Iterable[Sequence[int]], *, itemsize: int = 1, kind: str = "polynomial"
) -> Fit:
    """Return the fit of rows (n, d, b, value) by `kind`, polynomial or maximum.

    Where values are bytes of elements, the formula is `itemsize*(...)`. Values that `itemsize` does
    not divide (a mask of single bytes among them) are fitted as they are.
    """
    if kind not in ("polynomial", "maximum"):
        raise FitError(
            f"kind {kind!r} given, expected 'polynomial' or 'maximum': choose one of the two"
        )
    if itemsize < 1:
        raise FitError(
            f"itemsize {itemsize} given, expected at least 1: give the bytes of one element"
        )
    measured = checked(rows)
    if any(row[3] % itemsize for row in measured):
        itemsize = 1
    fit = (fit_polynomial if kind == "polynomial" else fit_maximum)(
        [(n, d, b, value // itemsize) for n, d, b, value in measured]
    )
    return fit if itemsize == 1 else fit.in_bytes(itemsize)


def complexity_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row with a formula for each quantity of each group of rows of results.csv.

    Only rows with status `ok` count. In the modes `only` and `checkpointed` the weights asked for
    (column `wrt`) may vary from row to row, which no rule of n, d and b can hold; such a group is
    left out, and so is a quantity that was not measured. Raises FitError where columns are missing.
    """
    needed = [column for column in (*GROUP_COLUMNS, "status", "n", "d", "b") if column not in frame]
    if needed:
        raise FitError(
            f"rows without the columns {', '.join(needed)} given, expected those of results.csv: "
            "add the columns"
        )
    rows: list[dict[str, Any]] = []
    known: dict[tuple[Hashable, ...], Fit] = {}
    done = frame[frame["status"] == "ok"]
    for labels, group in done.groupby(list(GROUP_COLUMNS), sort=False, dropna=False):
        label = dict(zip(GROUP_COLUMNS, labels, strict=True))
        if (
            label["mode"] in MODES_WITH_ANY_WRT
            and "wrt" in group
            and group["wrt"].nunique(dropna=False) > 1
        ):
            continue
        for quantity, kind in QUANTITIES.items():
            measured = _rows_of(group, quantity)
            if not measured:
                continue
            itemsize = _itemsize(str(label["dtype"])) if quantity.endswith("_bytes") else 1
            key = (kind, itemsize, tuple(measured))
            if key not in known:
                known[key] = fit_quantity(measured, itemsize=itemsize, kind=kind)
            fit = known[key]
            rows.append(
                {
                    **label,
                    "quantity": quantity,
                    **_written(fit.found),
                    "valid_from_n": fit.valid_from_n,
                    "exact": fit.exact,
                    "rows": fit.rows,
                    "reason": fit.reason + "".join(f" | {rival}" for rival in fit.rivals),
                }
            )
    return pd.DataFrame(rows, columns=list(COMPLEXITY_COLUMNS))


def _written(found: Formula | None) -> dict[str, str]:
    """Return a formula and its order, in Python's notation and for the eye."""
    if found is None:
        return dict.fromkeys(("formula", "big_o", "pretty_formula", "pretty_order"), UNDECIDED)
    return {
        "formula": str(found),
        "big_o": str(found.order),
        "pretty_formula": found.written(PRETTY),
        "pretty_order": found.order.pretty,
    }


def _rows_of(group: pd.DataFrame, quantity: str) -> list[Row]:
    """Return the measured rows of a quantity; raise FitError where one is not an integer."""
    if quantity not in group:
        return []
    measured = group.loc[group[quantity].notna(), ["n", "d", "b", quantity]]
    rows = []
    columns = (measured[column].tolist() for column in measured)
    for n, d, b, value in zip(*columns, strict=True):
        if int(value) != value:
            raise FitError(
                f"{quantity} is {value} at {name((n, d, b))}, expected an integer: correct this "
                "row of results.csv"
            )
        rows.append((int(n), int(d), int(b), int(value)))
    return sorted(rows)


def _itemsize(dtype: str) -> int:
    """Return the bytes of an element from its dtype's name: 4 for `float32`, `torch.float32`."""
    digits = re.search(r"(\d+)$", dtype)
    if digits is None or int(digits.group(1)) % 8:
        raise FitError(
            f"dtype {dtype!r} given, expected a name that ends in its bits, such as float32: "
            "correct the column dtype"
        )
    return int(digits.group(1)) // 8
