"""What Hydra calls when all jobs of a multirun are done: one merged report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback


class MergedReport(Callback):
    """Merges the jobs' rows and makes one report of them, in the process that launched them."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Publish the sweep's directory. Jobs catch their own errors, so this is called whatever became of them."""
        from experiments.job import publish_sweep
        from experiments.outcome import exit_codes

        exit_codes.append(publish_sweep(Path(config.hydra.sweep.dir).absolute()))
