"""The same step on real tensors: the bytes that PyTorch holds, seconds, resident memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import Any

import torch

from experiments.errors import ModuleError
from experiments.modules.build import make_module
from experiments.modules.config import ModuleConfig
from experiments.modules.prediction import telling
from experiments.modules.step import Step, Steps, profiled_steps
from profiler.available import available_bytes
from profiler.resident import measure_process_memory, process_memory_reason
from profiler.units import human_bytes_apart


@dataclass(frozen=True, eq=False)
class Execution:
    """The profiles of a first and a later step, the median ns of a plain step, resident memory.

    `process_bytes` is the peak of resident memory above what was resident before the step; None
    where `reason` says why.
    """

    steps: Steps
    wall_ns: float
    process_bytes: int | None
    reason: str


def execute(config: ModuleConfig, predicted_bytes: int | None) -> Execution:
    """Run the step on real tensors. `predicted_bytes` is what it needs, where that is known.

    Raises ModuleError where that is more than is available, or the step fails.
    """
    available = available_bytes()
    if predicted_bytes is not None and predicted_bytes > available:
        needs, have = human_bytes_apart(predicted_bytes, available)
        raise ModuleError(
            f"execute=true: a batch of {config.batch} needs {needs}, and {have} are available; "
            "take a smaller batch, or leave execute out"
        )
    with telling(config, config.batch):
        torch.manual_seed(0)
        torch.set_num_threads(config.threads)
        module = make_module(config)
        steps = profiled_steps(Step(module, config), config.batch)
        run = _ready(module, config)
        run()
        walls = []
        for _ in range(config.repeats):
            start = perf_counter_ns()
            run()
            walls.append(perf_counter_ns() - start)
    del module, run
    reason = process_memory_reason(steps.later.peak_bytes)
    peak = None
    if reason is None:
        outcome = measure_process_memory(prepared_step, config, threads=config.threads)
        reason = outcome.reason
        if outcome.peak_rss_bytes is not None and outcome.baseline_rss_bytes is not None:
            peak = outcome.peak_rss_bytes - outcome.baseline_rss_bytes
    return Execution(steps, float(median(walls)), peak, reason or "")


def prepared_step(config: ModuleConfig) -> Callable[[], Any]:
    """Return a step of a fresh module, ready to run in a child process."""
    torch.manual_seed(0)
    return _ready(make_module(config), config)


def _ready(module: torch.nn.Module, config: ModuleConfig) -> Callable[[], Any]:
    step = Step(module, config)
    batch = step.batch(config.batch)
    return lambda: step(batch)
