"""Numbers as people write them: shares, counts, lists in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Notation(NamedTuple):
    """How a formula is written: its signs, and functions for powers and maxima."""

    times: str
    scale: str
    minus: str
    power: Callable[[int], str]
    maximum: Callable[[str], str]

    def product(self, number: object, factor: str) -> str:
        """Return a coefficient times a factor, without a 1, and without a factor that is 1."""
        if factor in ("", "1"):
            return str(number)
        return factor if str(number) == "1" else f"{number}{self.times}{factor}"


PLAIN = Notation("*", "*", "-", lambda n: f"**{n}", lambda text: f"max({text})")
PRETTY = Notation("", "·", "−", lambda n: raised(n), lambda text: f"max{{{text}}}")
LATEX = Notation(
    " ", r" \cdot ", "-", lambda n: f"^{{{n}}}", lambda text: rf"\max\left\{{{text}\right\}}"
)


def raised(number: int) -> str:
    """Return a number as a power above the line."""
    return str(number).translate(_RAISED)


def lowered(number: int) -> str:
    """Return a number as an index below the line."""
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def percent(part: float, whole: float) -> str:
    """Return a share as `68%`, with one decimal if it is below 1 or just below 100."""
    share = 100 * part / whole if whole else 0.0
    return (
        f"{share:.0f}%"
        if abs(share) < 0.05 or 1 <= abs(share) <= 99 or abs(share) >= 99.95
        else f"{share:.1f}%"
    )


def joined(words: Sequence[str]) -> str:
    """Return words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def counted(count: int, thing: str) -> str:
    """Return a count with its noun: 1 row, 2 rows, 1,284 rows."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def in_one_line(text: str) -> str:
    """Return a text in one line that any file can hold."""
    text = " ".join(text.encode(errors="backslashreplace").decode().split())
    return text.replace("\0", "\\0")
