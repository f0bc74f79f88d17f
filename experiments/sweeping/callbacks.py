"""What Hydra calls around a multirun: check the grid first, merge the reports last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from experiments import sweeping
from experiments.cli.exit import outcome
from experiments.cli.interrupts import ending_quietly


class MergedReport(Callback):
    """Check a multirun before anything is launched; in the end merge the rows of its jobs.

    Hydra turns an exception of a callback into a warning and goes on, and skips `on_multirun_end`
    where a job raised: so errors here exit, and the command line closes a sweep left open.
    """

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Check every job, note what is expected; raise SystemExit if nothing can be run."""
        with ending_quietly():  # loads PyTorch, which an interrupt would leave half made
            begin = sweeping.begin
        outcome.open_sweep = begin(config)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Publish the sweep's directory."""
        outcome.open_sweep = None
        directory = Path(config.hydra.sweep.dir).absolute()
        outcome.exit_codes.append(sweeping.publish_sweep(directory))
