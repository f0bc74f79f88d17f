"""`python -m experiments.profile_module`: what one step of a PyTorch module takes, where, and the largest batch that fits in a memory.

    python -m experiments.profile_module model=gpt2 memory=24GiB
    python -m experiments.profile_module model.path=torch.nn.TransformerEncoderLayer 'model.arguments={d_model: 64, nhead: 4}' input.shape=[16,64]

The module is made of its import path and keyword arguments (a model of `transformers` by way of its config class), the batch of shapes. The
step is predicted on fake tensors: nothing is computed, no memory taken, so what does not fit can be measured too. `execute=true` runs it
on real ones as well. The report lies in `hydra.run.dir`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import HydraException

from experiments.outcome import INTERRUPTED, SOME_FAILED, WRONG_INPUT, one_line, outcome

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from experiments.modules.config import ModuleConfig
    from experiments.modules.summary import Result

# PyTorch and the rest are imported where the work begins, so that --help and a wrong key answer at once.

_FULL_ERROR = "HYDRA_FULL_ERROR"


@hydra.main(config_path="../configs", config_name="profile_module", version_base="1.3")
def task(cfg: DictConfig) -> None:
    """One module: measured, told, its report written; what the caller can mend is told in a line, and other jobs of a multirun go on."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from autodiff.errors import TapemeasureError

    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    try:
        _profile(plain, Path(HydraConfig.get().runtime.output_dir))
    except TapemeasureError as error:
        outcome.exit_codes.append(WRONG_INPUT)
        print(f"error: {one_line(error)}", file=sys.stderr)


def _profile(plain: dict[str, Any], directory: Path) -> None:
    from experiments.modules.config import module_config

    config = module_config(plain)

    from experiments.errors import ModuleError
    from experiments.modules.report import say, write_report
    from profiler.units import human_bytes

    result = measured(config)
    say(result)
    print(f"report: {write_report(result, directory, plain)}")
    if result.search is not None and result.search.largest == 0 and config.memory_bytes is not None:
        raise ModuleError(
            f"memory={human_bytes(config.memory_bytes)} cannot hold a batch of 1, which needs {human_bytes(result.search.needed[1])}; "
            "expected more memory, or a smaller model, optimizer=sgd or none, dtype=bfloat16, checkpoint=[…]"
        )


def measured(config: ModuleConfig) -> Result:
    """What is to be told of a module: predicted, the largest batch searched for where a memory is given, executed where that is asked for."""
    import torch

    from experiments.errors import FakeTensorError
    from experiments.modules.execute import execute
    from experiments.modules.plans import plans_of
    from experiments.modules.predict import FakeModule, largest_batch
    from experiments.modules.summary import Result

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
    search = None
    if config.memory_bytes is not None:
        known = {config.batch: predicted.needed_bytes}
        search = largest_batch(
            lambda size: known[size] if size in known else fake.steps(size).needed_bytes,
            config.memory_bytes,
            config.batch,
        )
    executed = execute(config, predicted.needed_bytes) if config.execute else None
    return Result(config, predicted, fake.how, search, executed, plans=plans_of(fake, config))


def main() -> None:
    """The command line; exits with 2 and one line where something is wrong with what was asked for."""
    asked_for_all = os.environ.get(_FULL_ERROR) == "1"
    os.environ[_FULL_ERROR] = (
        "1"  # what Hydra would print as a traceback comes here and is told in a line
    )
    try:
        task()
    except KeyboardInterrupt:
        outcome.exit_codes.append(INTERRUPTED)
        print("interrupted", file=sys.stderr)
    except Exception as error:
        if asked_for_all:
            raise
        outcome.exit_codes.append(_told(error))
    sys.exit(outcome.exit_code())


def _told(error: Exception) -> int:
    """Tell an error in a line; returns the exit code: whether it is the command line that is wrong."""
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):
        said = [" ".join(str(one).split()) for one in (error, error.__cause__) if one is not None]
        print(f"error: {'; '.join(said)}; --help lists the keys", file=sys.stderr)
        return WRONG_INPUT
    print(
        f"error: {one_line(error)}; {_FULL_ERROR}=1 in the environment shows where", file=sys.stderr
    )
    return SOME_FAILED


if __name__ == "__main__":
    main()
