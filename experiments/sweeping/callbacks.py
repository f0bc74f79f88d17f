"""What Hydra calls in the launching process before and after the jobs of a multirun: the grid checked at the door, one merged report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from experiments.cli.exit import outcome
from experiments.sweeping.job import publish_sweep
from experiments.sweeping.multirun import begin


class MergedReport(Callback):
    """Checks a multirun before anything is launched, and in the end merges the jobs' rows and makes one report of them.

    Hydra turns an exception of a callback into a warning and goes on, and does not call `on_multirun_end` where a job raised: what is wrong
    is told here by leaving, and a sweep that did not come to its end is closed by the command line.
    """

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Refuse what cannot be run, and note what is expected. Raises SystemExit where there is nothing to launch."""

        outcome.open_sweep = begin(config)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Publish the sweep's directory."""

        outcome.open_sweep = None
        outcome.exit_codes.append(publish_sweep(Path(config.hydra.sweep.dir).absolute()))
