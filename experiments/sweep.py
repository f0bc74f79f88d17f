"""Measure every point of a grid of networks, compare with theory, write the report.

    tapemeasure sweep grid.n=[1,2,4] network.activation=gelu
    tapemeasure sweep experiment=quick

`experiment=NAME` takes a preset (one of your own with `--config-dir DIR`, from
DIR/experiment/NAME.yaml), `--multirun` splits a grid into jobs, `hydra/launcher=NAME` runs these on
several cores or machines, `dry_run=true` says what would be measured. To resume an interrupted
sweep, run the same command with the same `hydra.run.dir` (`hydra.sweep.dir` with `--multirun`).
"""

from __future__ import annotations

import os
import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from experiments import sweeping
from experiments.cli.command import print_help, run_command
from experiments.cli.exit import outcome, report_command
from experiments.cli.helping import CONFIGS
from experiments.cli.interrupts import ending_quietly, exit_code_of, listen
from experiments.progress import working

LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm", "ray")


@hydra.main(config_path=str(CONFIGS), config_name="config", version_base="1.3")
def task(cfg: DictConfig) -> float:
    """Run one job, the whole sweep or a part of a multirun; return its objective."""
    with (
        working("loading PyTorch"),
        ending_quietly(),
    ):  # loads PyTorch, which an interrupt would leave half made
        run_task = sweeping.run_task
    return run_task(cfg)


def main() -> None:
    """Run the command line; exit non-zero where a point failed or is missing, or a key is wrong."""
    listen()
    print_help("config", "sweep", __doc__)
    _prefer_own_presets()
    run_command(task, "config", "interrupted; every completed row is saved", _close_sweep)


def _prefer_own_presets() -> None:
    """Take launchers' own configs out of Hydra's store if configs/hydra/launcher has the preset.

    Hydra 1.3 would merge the two, and warn at every composition that this is deprecated. Workers
    are sent this store.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # importing the plugins is what fills the store
    stored: Any = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for name in LAUNCHERS:
        stored.pop(f"{name}.yaml", None)


def _close_sweep() -> None:
    """Merge and report a multirun that Hydra did not finish: jobs died, or it was interrupted."""
    directory, outcome.open_sweep = outcome.open_sweep, None
    if directory is not None:
        try:
            outcome.exit_codes.append(sweeping.publish_sweep(directory))
            print("the sweep did not finish; reported the rows that are there", file=sys.stderr)
        except KeyboardInterrupt as error:
            outcome.exit_codes.append(exit_code_of(error))
            command = report_command(directory)
            print(f"interrupted again; the rows are saved: {command}", file=sys.stderr)
    if outcome.lock is not None:
        os.close(outcome.lock)


if __name__ == "__main__":
    main()
