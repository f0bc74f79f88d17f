"""Polynomials and maxima of polynomials in the letters of a study, and the file of a study's.

Algebra, printing and LaTeX are sympy's. A formula counts in exact integers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import sympy
from sympy import Poly

from experiments.errors import ConfigError, ResultsError
from experiments.measuring.search import largest
from experiments.results.files import read_bytes
from experiments.text import raised

UNDECIDED = "undecided"
LARGEST = 2**40


@dataclass(frozen=True)
class Formula:
    """The greatest of some polynomials in the same letters; a sum has a single one."""

    letters: tuple[str, ...]
    pieces: tuple[Poly, ...]

    @classmethod
    def of(
        cls,
        letters: Sequence[str],
        pieces: Iterable[Mapping[tuple[int, ...], int | Fraction]],
    ) -> Formula:
        """Return the formula of polynomials given as coefficients by exponents."""
        generators = sympy.symbols(list(letters), positive=True, integer=True)
        return cls(
            tuple(letters),
            tuple(
                Poly.from_dict(
                    {
                        exponents: sympy.Rational(value.numerator, value.denominator)
                        for exponents, value in piece.items()
                    }
                    or {(0,) * len(generators): 0},
                    *generators,
                    domain="QQ",
                )
                for piece in pieces
            ),
        )

    @classmethod
    def parsed(cls, letters: Sequence[str], pieces: Iterable[Iterable[Any]]) -> Formula:
        """Return the formula of a JSON file: of each piece, its terms (exponents, coefficient)."""
        return cls.of(
            letters, [{tuple(powers): Fraction(value) for powers, value in one} for one in pieces]
        )

    def plain(self) -> list[list[list[Any]]]:
        """Return the pieces as a JSON file has them: their terms (exponents, coefficient)."""
        return [
            [[list(powers), str(value)] for powers, value in one.terms()] for one in self.pieces
        ]

    @cached_property
    def _compiled(self) -> tuple[Callable[..., Any], ...]:
        """Return a function of plain integers for each piece, over its denominator."""
        functions = []
        for piece in self.pieces:
            denominator, whole = piece.clear_denoms(convert=True)
            numerator = sympy.lambdify(piece.gens, sympy.horner(whole), "math")
            functions.append(_over(numerator, int(denominator)))
        return tuple(functions)

    def __call__(self, *shape: int) -> int | Fraction:
        """Return the exact value at one value of each letter, in their order."""
        value: int | Fraction = max(piece(*shape) for piece in self._compiled)
        return value

    def active(self, *shape: int) -> int:
        """Return which piece is the greatest at a shape."""
        values = [piece(*shape) for piece in self._compiled]
        return values.index(max(values))

    def elasticities(self, *shape: int) -> dict[str, float]:
        """Return, by letter, the percentage by which the value grows for 1% more of it."""
        piece = self.pieces[self.active(*shape)]
        point = dict(zip(piece.gens, shape, strict=True))
        value = piece.as_expr().subs(point)
        if not value:
            return dict.fromkeys(self.letters, 0.0)
        return {
            letter: float(at * piece.diff(generator).as_expr().subs(point) / value)
            for letter, generator, at in zip(self.letters, piece.gens, shape, strict=True)
        }

    @property
    def expression(self) -> Any:
        """Return the formula as an expression of sympy."""
        expressions = [piece.as_expr() for piece in self.pieces]
        return expressions[0] if len(expressions) == 1 else sympy.Max(*expressions, evaluate=False)

    @property
    def latex(self) -> str:
        """Return the formula as LaTeX."""
        pieces = [sympy.latex(piece.as_expr()) for piece in self.pieces]
        return pieces[0] if len(pieces) == 1 else rf"\max\left\{{{', '.join(pieces)}\right\}}"

    def __str__(self) -> str:
        pieces = [str(piece.as_expr()) for piece in self.pieces]
        return pieces[0] if len(pieces) == 1 else f"max({', '.join(pieces)})"

    @property
    def pretty(self) -> tuple[str, ...]:
        """Return each piece for the eye, the greatest powers first: `12·L·d² + 13·L·d`."""
        return tuple(self._sum_for_the_eye(piece) for piece in self.pieces)

    def _sum_for_the_eye(self, piece: Poly) -> str:
        text = ""
        terms = sorted(piece.terms(), key=lambda term: (sum(term[0]), term[0]), reverse=True)
        for powers, value in terms:
            body = self._product(powers)
            number = abs(value)
            body = body if number == 1 and body else f"{number}·{body}" if body else str(number)
            text += (
                f" {'−' if value < 0 else '+'} {body}"
                if text
                else ("−" if value < 0 else "") + body
            )
        return text or "0"

    def _product(self, powers: Sequence[int]) -> str:
        return "·".join(
            letter + (raised(power) if power > 1 else "")
            for letter, power in zip(self.letters, powers, strict=True)
            if power
        )

    @property
    def order(self) -> str:
        """Return how the formula grows when its letters grow independently, such as `O(L·d²)`.

        It has the monomials with a positive coefficient that no other of them dominates.
        """
        growing = {powers for piece in self.pieces for powers, value in piece.terms() if value > 0}
        leading = [one for one in growing if not any(_dominates(two, one) for two in growing)]
        if not leading:
            return "0"
        terms = [self._product(one) or "1" for one in sorted(leading, reverse=True)]
        return f"O({' + '.join(terms)})"


@dataclass(frozen=True)
class Found:
    """What the rows of a quantity decide: its formula, or None and the reason.

    `fitted` rows determine it and `held_out` rows are compared with it; `full` is its predicted
    value at the full size, None where that was not asked for. A decided formula may have a `reason`
    too: what it does not cover. `moments` says of each polynomial of a maximum at which moment of
    the step it counts; `lowest` is the smallest value of each letter at which a row met it.
    """

    formula: Formula | None
    fitted: int
    held_out: int
    reason: str = ""
    full: int | None = None
    moments: tuple[str, ...] = ()
    lowest: tuple[int, ...] = ()


@dataclass(frozen=True)
class Complexity:
    """All formulas of a study by quantity, the letters, and the full shape.

    `units` are the steps between values.
    """

    letters: tuple[str, ...]
    names: tuple[str, ...]
    full: tuple[int, ...]
    units: tuple[int, ...]
    found: dict[str, Found]

    def formula(self, quantity: str, **values: int) -> int | Fraction:
        """Return the exact value of a quantity; a letter that is not given has its full value.

        Raises ConfigError for an unknown quantity or letter, and where nothing was decided.
        """
        return self._decided(quantity)(*self._shape(values))

    def largest(
        self, letter: str, memory_bytes: int, quantity: str = "needed_bytes", **values: int
    ) -> int:
        """Return the greatest value of a letter at which a quantity is at most `memory_bytes`.

        The other letters have the given or their full values. It is 0 where none fits. Raises
        ConfigError as `formula` does.
        """
        formula, shape = self._decided(quantity), list(self._shape({**values, letter: 1}))
        place = self.letters.index(letter)
        unit = self.units[place]

        def fits(count: int) -> bool:
            shape[place] = count * unit
            return formula(*shape) <= memory_bytes

        return unit * largest(fits, LARGEST)

    def _decided(self, quantity: str) -> Formula:
        if quantity not in self.found:
            raise ConfigError(
                f"quantity {quantity!r} given; expected one of {', '.join(self.found)}"
            )
        formula = self.found[quantity].formula
        if formula is None:
            raise ConfigError(f"{quantity} is undecided: {self.found[quantity].reason}")
        return formula

    def _shape(self, values: Mapping[str, int]) -> tuple[int, ...]:
        unknown = [letter for letter in values if letter not in self.letters]
        if unknown:
            raise ConfigError(
                f"letter {unknown[0]!r} given; expected one of {', '.join(self.letters)}"
            )
        return tuple(
            values.get(letter, full) for letter, full in zip(self.letters, self.full, strict=True)
        )

    def plain(self) -> dict[str, Any]:
        """Return what the JSON file has: all that `read_complexity` needs, and texts to read."""
        return {
            "letters": list(self.letters),
            "names": list(self.names),
            "full": list(self.full),
            "units": list(self.units),
            "found": {
                name: {
                    "formula": str(one.formula) if one.formula else UNDECIDED,
                    "order": one.formula.order if one.formula else UNDECIDED,
                    "latex": one.formula.latex if one.formula else "",
                    "pieces": one.formula.plain() if one.formula else None,
                    "fitted": one.fitted,
                    "held_out": one.held_out,
                    "reason": one.reason,
                    "full": one.full,
                    "moments": list(one.moments),
                    "lowest": list(one.lowest),
                }
                for name, one in self.found.items()
            },
        }


def read_complexity(path: str | Path) -> Complexity:
    """Return the formulas of a study's `complexity.json`; raise ResultsError where it is none."""
    try:
        given = json.loads(read_bytes(Path(path)))
        letters = tuple(map(str, given["letters"]))
        found = {
            str(name): Found(
                None if one["pieces"] is None else Formula.parsed(letters, one["pieces"]),
                int(one["fitted"]),
                int(one["held_out"]),
                str(one["reason"]),
                None if one["full"] is None else int(one["full"]),
                tuple(map(str, one["moments"])),
                tuple(map(int, one["lowest"])),
            )
            for name, one in given["found"].items()
        }
        full, units = (tuple(map(int, given[key])) for key in ("full", "units"))
        return Complexity(letters, tuple(given["names"]), full, units, found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(
            f"{path} is no file of formulas ({error}); expected the complexity.json of "
            "tapemeasure complexity"
        ) from error


def _over(numerator: Callable[..., Any], denominator: int) -> Callable[..., Any]:
    def value(*shape: int) -> int | Fraction:
        found = Fraction(int(numerator(*map(int, shape))), denominator)
        return found.numerator if found.denominator == 1 else found

    return value


def _dominates(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
