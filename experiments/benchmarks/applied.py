"""Plans in a training loop: time and peak of eager steps, checkpointed blocks, PyTorch's, ours.

Every step trains the same GPT-2 on the same batch; the steps alternate, and those whose gradients
are not eager's bit by bit are left out with a line. Peaks are measured by `profile_step`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from experiments.benchmarks.chain import Rows, rows_of
from experiments.benchmarks.remat import partitioned_step
from experiments.measuring import architectures
from experiments.measuring.architectures import Training
from experiments.measuring.timing import alternate
from profiler.applying.blocks import families_of
from profiler.applying.model import checkpointed
from profiler.applying.rerunning import run_again
from profiler.pytorch.steps import profile_step

log = logging.getLogger("tapemeasure")

EAGER = "eager"
BUDGETS = (0.8, 0.6, 0.4)
"""Shares of the eager peak, and what PyTorch's `activation_memory_budget` is given."""
ROUNDS = 5
Step = Callable[[], Any]


def network() -> Training:
    """Return the network that is trained: a GPT-2 of four layers."""
    return architectures.gpt2(layers=4, d=64, seq=64, vocab=256)


def training_loops() -> Rows:
    """Compare steps under plans with eager ones."""
    torch.manual_seed(0)
    training = network()
    steps: dict[str, Step] = {EAGER: _of_model(training)}
    expected = steps[EAGER]()
    peaks = {EAGER: profile_step(steps[EAGER]).peak_bytes}
    for name, make in _steps(training, peaks[EAGER]):
        try:
            step = make()
            found = step()
        except Exception as error:  # whatever a compiler or a planner raises
            log.warning("%s is left out: %s", name, str(error).strip().splitlines()[0][:100])
            continue
        if not all(torch.equal(one, other) for one, other in zip(found, expected, strict=True)):
            log.warning("%s gives other gradients and is left out", name)
            continue
        steps[name], peaks[name] = step, profile_step(step).peak_bytes
    return rows_of("applied", "gpt2", alternate(steps, ROUNDS, warm_up=1), EAGER, peaks)


def _steps(training: Training, most: int) -> Iterator[tuple[str, Callable[[], Step]]]:
    yield "every block checkpointed", partial(_blocks, training)
    for share in BUDGETS:
        yield f"activation_memory_budget={share}", partial(_theirs, training, share)
        for mechanism in ("compile", "checkpoint"):
            name = f"{mechanism}, {share:.0%} of eager"
            yield name, partial(_ours, training, int(share * most), mechanism)


def _of_model(training: Training) -> Step:
    return lambda: training.step(*training.batch)[1]


def _blocks(training: Training) -> Step:
    model = copy.deepcopy(training.model)
    run_again(model, families_of(model)[0])
    return _of_model(Training(model, training.loss_of, training.batch))


def _theirs(training: Training, share: float) -> Step:
    step = partitioned_step(training, share)
    return lambda: step(*training.batch)[1]


def _ours(training: Training, max_bytes: int, mechanism: str) -> Step:
    model = checkpointed(
        copy.deepcopy(training.model), max_bytes, mechanism=mechanism, quiet=True, cache=False
    )
    return _of_model(Training(model, training.loss_of, training.batch))
