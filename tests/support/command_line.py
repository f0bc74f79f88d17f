"""Commands run inside the test's own process, which saves the start of PyTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

from experiments import sweep
from experiments.cli.exit import Outcome, outcome


@contextlib.contextmanager
def fresh_outcome() -> Iterator[None]:
    """Begin with no exit code noted, and leave what was noted before as it was."""
    before = dict(vars(outcome))
    vars(outcome).update(vars(Outcome()))
    try:
        yield
    finally:
        vars(outcome).update(before)


def run_main(
    *arguments: str, cwd: Path, figures: bool = False, command: ModuleType = sweep
) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a command in a directory, by default without figures.

    An exception that would reach the user as a traceback reaches the test.
    """
    out, err = io.StringIO(), io.StringIO()
    handlers, level = list(logging.root.handlers), logging.root.level
    with contextlib.ExitStack() as stack:
        for patch in (
            mock.patch.object(sys, "argv", [str(Path(str(command.__file__))), *arguments]),
            mock.patch.dict(os.environ),
            fresh_outcome(),
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            stack.enter_context(patch)
        if not figures:
            stack.enter_context(
                mock.patch("experiments.reporting.publishing.draw_figures", return_value={})
            )
        try:
            command.main()
            raise AssertionError("the command line ends by leaving")
        except SystemExit as left:
            code = left.code
        finally:
            GlobalHydra.instance().clear()
            for handler in logging.root.handlers:
                if handler not in handlers:
                    handler.close()
            logging.root.handlers, logging.raiseExceptions = handlers, True
            logging.root.setLevel(level)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return int(code or 0), out.getvalue(), err.getvalue()
