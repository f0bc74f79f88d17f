"""Numbers and formulas as people write them: shares, lists in a sentence, formulas with their powers raised."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def pretty(formula: str) -> str:
    """A formula of complexity.csv for the eye: `4*(max(n*b*d + d**2, 1))` as 4·max{nbd + d², 1}, `n**1.46` as n^1.46; other text as it is."""
    power = re.fullmatch(r"n\*\*(\d+\.\d+|\(\d+/\d+\))", formula)
    if power:
        return f"n^{power.group(1)}"
    if formula == "n*log2(n)":
        return "n log n"
    if not re.fullmatch(r"[nbdmax0-9+\-*/(), ]+", formula):
        return formula
    alone = re.fullmatch(r"(\d+)\*\((\d+)\)", formula)
    if alone:
        return str(int(alone.group(1)) * int(alone.group(2)))
    text = re.sub(r"\*\*(\d+)", lambda power: power.group(1).translate(_RAISED), formula)
    text = re.sub(r"^(\d+)\*\((max\(.*\))\)$", r"\1·\2", text)
    text = re.sub(r"max\((.*)\)(\)?)$", r"max{\1}\2", text)
    text = re.sub(r"^(\d+)\*\(([^()+\- ]+)\)$", r"\1·\2", text)
    text = re.sub(r"(\d)\*\(", r"\1·(", text)
    return text.replace("*", "").replace("-", "−")


def order_words(big_o: str) -> str:
    """An order of complexity.csv for the eye: O(nbd²); nothing stays 0, and what was not decided says so."""
    return big_o if big_o in ("0", "undecided") else f"O({pretty(big_o)})"


def lowered(number: int) -> str:
    """A number as an index below the line."""
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def short_bytes(nbytes: float) -> str:
    """Bytes in binary units with three figures, for a sentence."""
    size = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1023.5 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if abs(size) >= 99.95 or unit == "B" else f"{size:.3g} {unit}"


def percent(part: float, whole: float) -> str:
    """A share as a whole percentage, with one decimal where it is below 1 or just below 100."""
    share = 100 * part / whole if whole else 0.0
    return (
        f"{share:.0f} %"
        if abs(share) < 0.05 or 1 <= abs(share) <= 99 or abs(share) >= 99.95
        else f"{share:.1f} %"
    )


def joined(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def counted(count: int, thing: str) -> str:
    """A count with its noun: 1 row, 2 rows, 1,284 rows."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def in_one_line(text: str) -> str:
    """Return a text in one line that any file can hold."""
    text = " ".join(text.encode(errors="backslashreplace").decode().split())
    return text.replace("\0", "\\0")
