"""`python -m experiments.sweep`: measure every point of a grid, hold it against the theory, and write the report.

Every key can be given on the command line: `grid.n=[1,2,4] network.activation=gelu`. `experiment=NAME` takes a preset, `--multirun`
splits a grid into jobs, `dry_run=true` says what would be measured. A sweep that was stopped goes on with the same
command and the same `hydra.run.dir` (`hydra.sweep.dir` with `--multirun`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra

if TYPE_CHECKING:
    from omegaconf import DictConfig

# PyTorch and the rest are imported where a sweep begins, so that --help and shell completion answer at once.

@hydra.main(config_path="../configs", config_name="config", version_base="1.3")
def task(cfg: DictConfig) -> float:
    """One job: the whole sweep, or one part of a multirun. Returns the greatest value of the `objective` column, for sweepers that minimise."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from experiments.job import run_job
    from experiments.outcome import exit_codes

    here = HydraConfig.get()
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    is_multirun = here.mode is RunMode.MULTIRUN
    code, value = run_job(
        plain, directory=Path(here.runtime.output_dir), sweep_directory=Path(here.sweep.dir).absolute() if is_multirun else None
    )
    exit_codes.append(code)
    return value


def main() -> None:
    """The command line; exits non-zero where a point failed or a key is wrong."""
    from experiments.outcome import exit_code

    task()
    sys.exit(exit_code())


if __name__ == "__main__":
    main()
