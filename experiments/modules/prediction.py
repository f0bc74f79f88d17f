"""A step measured on fake tensors, which allocate nothing, and the largest batch that fits.

Bytes as a function of the batch are the greatest of several sums, each a constant and so much an
example: piecewise affine. So a line through two measurements leads near the answer, and the answer
is confirmed by measuring it and the batch one larger.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from autodiff.errors import TapemeasureError, ValuesError
from experiments.errors import FakeTensorError, ModuleError, one_line
from experiments.measuring.search import largest
from experiments.modules.build import fake_module
from experiments.modules.config import ModuleConfig
from experiments.modules.step import Batch, Step, Steps, profiled_steps
from experiments.progress import working

LARGEST_BATCH = 2**20
MOST_MEASUREMENTS = 50
"""The most batches that a search measures: see `_next_guess`."""

_ALONG_LINES = 6
_GROWTH = 8
_VALUES_READ = (
    ValuesError,
    fake_tensor.DataDependentOutputException,
    fake_tensor.DynamicOutputShapeException,
    fake_tensor.UnsupportedFakeTensorException,
)


@dataclass(frozen=True)
class Search:
    """The largest batch that fits, 0 where none does; `needed` has the bytes of all measured.

    `is_bound` says that the search ended at the greatest batch that it tries.
    """

    largest: int
    needed: dict[int, int]

    @property
    def is_bound(self) -> bool:
        return self.largest == LARGEST_BATCH


class FakeModule:
    """A module on fake tensors, measured at any batch; `how` it was made: fake, meta or real.

    Raises ConfigError or ModuleError.
    """

    def __init__(self, config: ModuleConfig) -> None:
        self._config = config
        self._mode = FakeTensorMode()
        with working("making the module"):
            self.module, self.how = fake_module(config, self._mode)

    def steps(self, size: int) -> Steps:
        """Return the profiles of a first and of a later step on a batch.

        Raises FakeTensorError where the step reads values, ModuleError where it fails, naming the
        line.
        """
        with (
            working(f"recording a batch of {size}"),
            telling(self._config, size),
            self._mode,
        ):
            return profiled_steps(Step(self.module, self._config), size)

    def step_and_batch(self, size: int) -> tuple[Step, Batch]:
        """Return a step that has not been run, and a batch for it."""
        with telling(self._config, size), self._mode:
            step = Step(self.module, self._config)
            return step, step.batch(size)


@contextmanager
def telling(config: ModuleConfig, size: int) -> Iterator[None]:
    """Turn what a module raises into an error of ours, in one line."""
    try:
        with _without_log():
            yield
    except _VALUES_READ as error:
        cause = error.__cause__ or error
        func = getattr(cause, "func", None)
        what = f"{func} " if func is not None else ""
        raise FakeTensorError(
            f"{config.path} reads values of tensors ({what}{_place(cause)}), which fake tensors "
            "do not have; "
            "execute=true measures it on real ones"
        ) from error
    except TapemeasureError:
        raise
    except (Exception, SystemExit) as error:
        raise ModuleError(
            f"{config.path} on a batch of {size}: {one_line(error)} ({_place(error)})"
        ) from error


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep PyTorch from logging at length what an op on fake tensors raises: it is raised."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _place(error: BaseException) -> str:
    """Return the last line outside PyTorch and this project at which an error passed."""
    ours = (
        Path(torch.__file__).parent,
        *(Path(__file__).parents[2] / name for name in ("autodiff", "profiler")),
        Path(__file__).parent,
    )
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(at) for at in ours)
    ]
    return f"at {frames[-1].filename}:{frames[-1].lineno}" if frames else "inside PyTorch"


def largest_batch(
    needed: Callable[[int], int], memory_bytes: int, start: int, fixed_bytes: int | None = None
) -> Search:
    """Return the largest batch of at most `memory_bytes`; it and the next one are measured.

    `fixed_bytes` are those that no batch adds to, for the second guess. Raises ModuleError where a
    greater batch is found to need less, for then there is no such thing as the largest.
    """
    known: dict[int, int] = {}

    def fits(size: int) -> bool:
        if size not in known:
            known[size] = needed(size)
            _check_growth(known)
        return known[size] <= memory_bytes

    def between(low: int, high: int) -> int:
        return _next_guess(known, memory_bytes, low, high, fixed_bytes)

    return Search(largest(fits, LARGEST_BATCH, start, between), known)


def _next_guess(
    known: dict[int, int], memory_bytes: int, low: int, high: int, fixed_bytes: int | None
) -> int:
    """Return a batch strictly between two measured ones, on the line through them.

    With one measured, the line begins at the bytes that no batch adds to, where those are given.
    After six measurements that is so every third time only, for bytes that follow no line: the
    other two times it is the middle, or eight times the batch that fits where none is known that
    does not. Each of those halves what is left, of 2^20 batches, or multiplies the batch by eight;
    so it takes 6 + 1.5·(7 + 20) measurements at most, fewer than `MOST_MEASUREMENTS`.
    """
    if len(known) == 1 and fixed_bytes is not None:
        known = known | {0: fixed_bytes}
    below = sorted(size for size in known if size <= low)
    above = sorted(size for size in known if size >= high)
    if len(known) >= _ALONG_LINES and len(known) % 3:
        return (low + high) // 2 if above else min(_GROWTH * low, high - 1)
    if below and above:
        one, other = low, high
    elif len(below) > 1:
        one, other = below[-2:]
    elif len(above) > 1:
        one, other = above[:2]
    else:
        return 2 * low if below else high // 2
    slope = known[other] - known[one]
    guess = (
        one + (memory_bytes - known[one]) * (other - one) // slope
        if slope > 0
        else _GROWTH * max(low, 1)
    )
    return max(low + 1, min(guess, high - 1))


def _check_growth(known: dict[int, int]) -> None:
    sizes = sorted(known)
    for small, large in pairwise(sizes):
        if known[small] > known[large]:
            raise ModuleError(
                f"a batch of {large} needs {known[large]} bytes, one of {small} needs "
                f"{known[small]}: bytes do not grow with the batch, "
                "so no largest batch can be told; leave memory out"
            )
