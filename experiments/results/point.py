"""A point: everything that determines one row, so that its hash is the key of the row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from experiments.names import AXES

KeyOfShape = Callable[[int, int, int], str]
"""From depth, width and batch to a key."""


@dataclass(frozen=True)
class Point:
    """One measurement to make: a network's shape, mode, planner, engine, and how to measure it.

    `planner_code` is the hash of the file of a planner of the user's own, empty for all others.
    """

    part: str
    network: str
    activation: str
    loss: str
    dtype: str
    n: int
    d: int
    b: int
    mode: str
    wrt: str
    planner: str
    engine: str
    micro_batches: int
    device: str
    threads: int
    execute: bool
    repeats: int
    audit: str
    measure_process: bool
    planner_code: str = ""

    @property
    def key(self) -> str:
        """The hash of all fields but the study that asks for it: sixteen hexadecimal digits.

        A planner's code is part of it only where there is one, so that all other keys stay.
        """
        return self.key_of_shape(self.n, self.d, self.b)

    @property
    def key_of_shape(self) -> KeyOfShape:
        """The function from n, d and b to the key of the same point at that shape."""
        left_out = {"part"} if self.planner_code else {"part", "planner_code"}
        fields = {name: value for name, value in vars(self).items() if name not in left_out}
        text = json.dumps({**fields, **dict.fromkeys(AXES)}, sort_keys=True).replace("%", "%%")
        for axis in AXES:  # within a value, the quotes around the name would be escaped
            text = text.replace(f'"{axis}": null', f'"{axis}": %({axis})s')

        def key(n: int, d: int, b: int) -> str:
            whole = text % {"n": n, "d": d, "b": b}
            return hashlib.sha256(whole.encode()).hexdigest()[:16]

        return key

    def __str__(self) -> str:
        extra = "".join(
            f" {text}"
            for text in (
                self.wrt if self.mode == "only" else "",
                self.planner if self.mode == "checkpointed" else "",
                f"micro_batches={self.micro_batches}" if self.micro_batches > 1 else "",
            )
            if text
        )
        shape = f"n={self.n} d={self.d} b={self.b}"
        return f"{self.engine} {self.activation}+{self.loss} {shape} {self.mode}{extra}"
