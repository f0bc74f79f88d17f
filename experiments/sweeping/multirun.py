"""Before a multirun: check its launcher and every job's config, count points, find existing rows.

Hydra composes and checks a job's config where the job runs, which on a cluster is late and
elsewhere. So the launching process composes all of them first: a wrong key in the last job is one
line before the first job begins, and the number of expected points is known even if jobs die
without a word. This is done for the grids of `--multirun`; what an optimising sweeper will ask for
is not known beforehand, so there the jobs note what they expect.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from autodiff.devices import usable_device
from autodiff.errors import TapemeasureError
from experiments.cli.exit import FINE, SOME_FAILED, WRONG_INPUT, outcome, resume_command
from experiments.errors import one_line
from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.names import OK, SKIPPED
from experiments.results.expected import forget_expected, write_expected
from experiments.results.files import lock
from experiments.results.journal import rows_below, taken
from experiments.sweeping.console import say_plan
from experiments.sweeping.launchers import jobs_run_here

log = logging.getLogger("tapemeasure")

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
EXTRAS = {
    "hydra_joblib_launcher": "joblib",
    "hydra_submitit_launcher": "slurm",
    "hydra_ray_launcher": "ray",
}


def begin(config: Any) -> Path:
    """Check a multirun and write what is expected into its directory; return the directory.

    Raises SystemExit, after one line that says why, if it cannot be run, and after a dry run.
    """
    directory = Path(str(config.hydra.sweep.dir))
    _refuse(config.hydra.launcher, directory)
    try:
        return _noted(config, directory.absolute())
    except TapemeasureError as error:
        _leave(f"error: {one_line(error)}", WRONG_INPUT)
    except OSError as error:
        _leave(f"error: {one_line(error)}", SOME_FAILED)


def _noted(config: Any, directory: Path) -> Path:
    """Count the points of all jobs and write their keys; return the directory."""
    jobs = _jobs(config)
    configs = [sweep_config(job) for job in jobs or []]
    points = {point.key: point for config in configs for point in points_of(config)}
    if any(config.dry_run for config in configs):
        say_plan(list(points.values()))
        _leave("", FINE)
    if jobs_run_here(config.hydra.launcher):
        for device in {one.device for one in configs if one.execute}:
            usable_device(device)
    _take(directory)
    forget_expected(directory)
    if jobs is None:
        return directory
    write_expected(directory, points)
    rows = rows_below(directory)
    found = points.keys() & set(rows.loc[rows["status"].isin([OK, SKIPPED]), "key"])
    say = (
        f"{len(points)} points: {len(found)} found, {len(points) - len(found)} to measure, "
        f"in {len(configs)} jobs"
    )
    resume = f"to resume after an interruption: {resume_command(directory, is_multirun=True)}"
    log.info(say)
    log.info(resume)
    with (directory / "sweep.log").open("a") as file:
        file.write(f"{say}\n{resume}\n")
    return directory


def _take(directory: Path) -> None:
    """Lock a directory against other multiruns until this process ends.

    Raises ResultsError if another one has it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # Some systems open no directories or have no locks: there the jobs' own journals refuse.
    with suppress(OSError):
        file = os.open(directory, os.O_RDONLY)
        if not lock(file):
            os.close(file)
            raise taken(directory)
        outcome.lock = file


def _refuse(launcher: Mapping[str, Any], directory: Path) -> None:
    """Exit if a launcher is not installed, or would write where nobody looks."""
    target = str(launcher.get("_target_", ""))
    plugin = target.removeprefix("hydra_plugins.").split(".")[0]
    if plugin in EXTRAS and importlib.util.find_spec(f"hydra_plugins.{plugin}") is None:
        _leave(
            f"error: this launcher is not installed; expected the package {plugin}; "
            f"pip install 'tapemeasure[{EXTRAS[plugin]}]'",
            WRONG_INPUT,
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    if plugin == "hydra_ray_launcher" and not directory.is_absolute():
        # A worker of Ray has its own working directory: rows would go there, unnoticed.
        _leave(
            f"error: hydra.sweep.dir={directory}; expected an absolute path that every worker of "
            f"Ray sees, such as {directory.absolute()}",
            WRONG_INPUT,
        )


def _jobs(config: Any) -> list[dict[str, Any]] | None:
    """Return the plain config of every job; None if an optimising sweeper chooses them later."""
    if config.hydra.sweeper._target_ != BASIC_SWEEPER:
        return None
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    loader = GlobalHydra.instance().config_loader()
    given = [
        *(f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()),
        *config.hydra.overrides.task,
    ]
    jobs = []
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)
        for overrides in BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]:
            job = loader.load_sweep_config(config, list(overrides))
            with open_dict(job):
                del job["hydra"]
            plain: Any = OmegaConf.to_container(job, resolve=True)
            jobs.append(plain)
    except (HydraException, OmegaConfBaseException) as error:
        _leave(
            "\n".join(str(said) for said in (error, error.__cause__) if said is not None),
            WRONG_INPUT,
        )
    return jobs


def _leave(words: str, code: int) -> NoReturn:
    """Exit: Hydra would turn any other exception of a callback into a warning, and launch."""
    if words:
        print(words, file=sys.stderr)
    sys.exit(code)
