"""Planners and modules that leave nothing as it was: what a sweep and a profile have to survive."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import NoReturn

import torch
from torch import nn

from autodiff import StoreAll
from autodiff.program import Program
from autodiff.schedule import Schedule


def planner(program: Program, act: str) -> Schedule:
    """Do what is named, then store everything."""
    _ACTS[act]()
    return StoreAll()(program)


class Planner:
    """A planner that does what is named when it plans."""

    def __init__(self, act: str) -> None:
        self.act = act

    def __call__(self, program: Program) -> Schedule:
        """Return the plan that stores everything."""
        return planner(program, self.act)


class Module(nn.Linear):
    """A layer that does what is named in its forward pass."""

    def __init__(self, act: str) -> None:
        super().__init__(3, 3)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output."""
        _ACTS[self.act]()
        return super().forward(x)


def hoard() -> None:
    """Allocate without end."""
    kept = []
    while True:
        kept.append(bytearray(16 << 20))


def recurse() -> None:
    """Call itself without end."""
    recurse()


def interrupt() -> NoReturn:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def sleep() -> None:
    """Take longer than any test."""
    time.sleep(10**6)


_ACTS = {
    "exit": lambda: sys.exit(3),
    "end": lambda: os._exit(0),
    "abort": os.abort,
    "fork": os.fork,
    "thread": lambda: threading.Thread(target=sleep).start(),
    "chdir": lambda: os.chdir("/"),
    "close": lambda: os.closerange(0, 4096),
    "hoard": hoard,
    "recurse": recurse,
    "print": lambda: print("printed"),
    "read": input,
    "interrupt": interrupt,
}
