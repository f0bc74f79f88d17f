"""Remove the directories that Hydra makes before a command can say that its input is wrong."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

_MADE = {".hydra", "sweep.log", "multirun.yaml"}


def leave_no_trace(directory: Path) -> None:
    """Remove what Hydra made for a job that measured nothing, unless it holds anything else.

    Parents below the working directory go too where they are then empty.
    """
    with suppress(OSError):  # it is only tidying
        if directory.is_dir() and {path.name for path in directory.iterdir()} <= _MADE:
            shutil.rmtree(directory)
            here = Path.cwd()
            for parent in directory.absolute().parents:
                if here not in parent.parents or any(parent.iterdir()):
                    break
                parent.rmdir()  # the day's directory, say, where this was its first run
