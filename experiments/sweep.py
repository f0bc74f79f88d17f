"""`python -m experiments.sweep`: measure every point of a grid, hold it against the theory, and write the report.

Every key can be given on the command line: `grid.n=[1,2,4] network.activation=gelu`. `experiment=NAME` takes a preset, `--multirun`
splits a grid into jobs, `hydra/launcher=NAME` runs these on several cores or machines, `dry_run=true` says what would be measured. A sweep
that was stopped goes on with the same command and the same `hydra.run.dir` (`hydra.sweep.dir` with `--multirun`).
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import CompactHydraException

from experiments.interrupts import ending_quietly, listen
from experiments.outcome import (
    INTERRUPTED,
    SOME_FAILED,
    WRONG_INPUT,
    one_line,
    outcome,
    report_command,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig

# PyTorch and the rest are imported where a sweep begins, so that --help and shell completion answer at once.

LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm", "ray")
_FULL_ERROR = "HYDRA_FULL_ERROR"


@hydra.main(config_path="../configs", config_name="config", version_base="1.3")
def task(cfg: DictConfig) -> float:
    """One job: the whole sweep, or one part of a multirun. Returns the greatest value of the `objective` column, for sweepers that minimise."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    with ending_quietly():
        from experiments.job import run_job
    from experiments.launching import let_children_start, runs_side_by_side

    let_children_start()
    logging.getLogger("torch").setLevel(
        logging.WARNING
    )  # it has something to say of its caches where a sweep is interrupted
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk say, is not to bury the line that says so
    here = HydraConfig.get()
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    is_multirun = here.mode is RunMode.MULTIRUN
    code, value = run_job(
        plain,
        directory=Path(here.runtime.output_dir),
        sweep_directory=Path(here.sweep.dir).absolute() if is_multirun else None,
        concurrent=is_multirun and runs_side_by_side(here.launcher),
    )
    outcome.exit_codes.append(code)
    return value


def main() -> None:
    """The command line; exits non-zero where a point failed or is missing, a key is wrong, or a disk is."""
    listen()
    _prefer_own_presets()
    asked_for_all = os.environ.get(_FULL_ERROR) == "1"
    os.environ[_FULL_ERROR] = (
        "1"  # what Hydra would print as a traceback comes here and is told in a line
    )
    try:
        task()
    except KeyboardInterrupt:
        outcome.exit_codes.append(INTERRUPTED)
        print("interrupted; every row that was measured is kept", file=sys.stderr)
    except Exception as error:
        outcome.exit_codes.append(
            WRONG_INPUT if isinstance(error, CompactHydraException) else SOME_FAILED
        )
        if asked_for_all:
            raise
        if isinstance(error, CompactHydraException):
            print(
                "\n".join(str(said) for said in (error, error.__cause__) if said is not None),
                file=sys.stderr,
            )
        else:
            print(
                f"error: {_cause(error)}; {_FULL_ERROR}=1 in the environment shows where",
                file=sys.stderr,
            )
    finally:
        _close_sweep()
        if outcome.lock is not None:
            os.close(outcome.lock)
    sys.exit(outcome.exit_code())


def _prefer_own_presets() -> None:
    """Take the launchers' own configs out of Hydra's store where configs/hydra/launcher has a preset of the same name.

    Hydra 1.3 would merge the two, and warn at every composition that it will not do so much longer. Workers are sent this store.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # importing the plugins is what fills the store
    stored: Any = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for name in LAUNCHERS:
        stored.pop(f"{name}.yaml", None)


def _cause(error: BaseException) -> str:
    """The operating system's error among the causes of an error, if there is one, else the error itself, in one line."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return one_line(error if cause is None else cause)


def _close_sweep() -> None:
    """Merge and report what there is of a multirun that Hydra did not bring to its end: jobs died, or somebody pressed Ctrl-C."""
    directory, outcome.open_sweep = outcome.open_sweep, None
    if directory is None:
        return
    from experiments.job import publish_sweep

    try:
        outcome.exit_codes.append(publish_sweep(directory))
        print("the sweep did not come to its end; what there is, is reported", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"interrupted again; the rows are kept: {report_command(directory)}", file=sys.stderr)


if __name__ == "__main__":
    main()
