"""The code blocks of the documentation."""

import re
from typing import NamedTuple


class Block(NamedTuple):
    """A block of code, the line on which it begins, and what the page says that it prints (None: it
    does not say).
    """

    code: str
    line: int
    prints: str | None


BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n*```text\n(?P<prints>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    return [
        Block(found["code"], page.count("\n", 0, found.start("code")), found["prints"])
        for found in BLOCK.finditer(page)
    ]
