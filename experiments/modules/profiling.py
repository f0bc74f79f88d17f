"""One step of a module, from a config to its report."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from autodiff.errors import TapemeasureError
from experiments.cli.exit import FINE, WRONG_INPUT, outcome
from experiments.cli.interrupts import Interrupted
from experiments.cli.loading import without_collecting
from experiments.cli.traces import leave_no_trace
from experiments.errors import FakeTensorError, ModuleError, one_line
from experiments.modules.blocks import compared, fewest_blocks
from experiments.modules.config import ModuleConfig, module_config
from experiments.modules.execution import execute
from experiments.modules.planned import advice_of, largest_planned, resident_bytes
from experiments.modules.plans import plans_of
from experiments.modules.prediction import FakeModule, largest_batch
from experiments.modules.report import say, write_report
from experiments.modules.summary import Result
from experiments.progress import working
from profiler.units import human_bytes


def run_task(cfg: DictConfig) -> None:
    """Profile the module of a config and write its report.

    A TapemeasureError becomes one line and an exit code, so that other jobs of a multirun go on.
    """
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    directory = Path(HydraConfig.get().runtime.output_dir)
    try:
        _profile(plain, directory)
    except TapemeasureError as error:
        outcome.exit_codes.append(WRONG_INPUT)
        print(f"error: {one_line(error)}", file=sys.stderr)
        leave_no_trace(directory)


def _profile(plain: dict[str, Any], directory: Path) -> None:
    config = module_config(plain)
    with _own_code(config.path):
        result = measured(config)
    say(result)
    with working("writing the report"):
        page = write_report(result, directory, plain)
    print(f"report: {page}")
    if result.search is not None and result.search.largest == 0:
        raise ModuleError(
            f"memory: {config.memory} cannot hold a batch of 1, which needs "
            f"{human_bytes(result.search.needed[1])}; "
            "expected more memory, or a smaller model, optimizer=sgd or none, dtype=bfloat16, "
            "checkpoint=[…]"
        )


@contextmanager
def _own_code(path: str) -> Iterator[None]:
    """Run a user's code, and leave to the command its working directory, its process, its Ctrl-C.

    Raises ModuleError where the code raises KeyboardInterrupt by itself.
    """
    here, this = Path.cwd(), os.getpid()
    try:
        yield
    except KeyboardInterrupt as error:
        if isinstance(error, Interrupted) or signal.getsignal(signal.SIGINT) is _PYTHONS:
            raise
        raise ModuleError(f"{path} raised KeyboardInterrupt; expected a step that ends") from error
    finally:
        if os.getpid() != this:
            os._exit(FINE)  # a process that the module forked must not report a second time
        os.chdir(here)


_PYTHONS = signal.default_int_handler
"""Python's own handler, under which Ctrl-C cannot be told from code that raises its exception."""


def measured(config: ModuleConfig) -> Result:
    """Return what was found for a module.

    The step is predicted, the largest batch searched for where a memory is given, and the step
    executed where that is asked for. Raises FakeTensorError where it cannot be predicted and is not
    executed.
    """
    with working("loading PyTorch's compiler"), without_collecting():  # which the next line loads
        torch.manual_seed(0)
    fake = FakeModule(config)
    try:
        predicted = fake.steps(config.batch)
    except FakeTensorError as error:
        if not config.execute:
            raise
        return Result(
            config, None, fake.how, None, execute(config, None), str(error).split("; ")[0]
        )
    search, not_searched = None, ""
    if config.memory_bytes is not None:
        known = {config.batch: predicted.needed_bytes}
        try:
            search = largest_batch(
                lambda size: known[size] if size in known else fake.steps(size).needed_bytes,
                config.memory_bytes,
                config.batch,
                resident_bytes(predicted, config.batch, 0),
            )
        except ModuleError as error:  # a batch that the module refuses: the report is still made
            not_searched = one_line(error)
    executed = execute(config, predicted.needed_bytes) if config.execute else None
    plans = plans_of(fake, config)
    return Result(
        config,
        predicted,
        fake.how,
        search,
        executed,
        plans=plans,
        planned=largest_planned(fake, config, predicted, plans),
        not_searched=not_searched,
        blocks=fewest_blocks(fake, config, predicted),
        by_hand=compared(config, predicted),
        advice=advice_of(config, predicted, plans),
    )
