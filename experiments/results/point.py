"""A point: everything that determines one row, so that its hash is the key of the row."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass


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
        fields = {name: value for name, value in vars(self).items() if name != "part"}
        if not self.planner_code:
            del fields["planner_code"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

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
