"""The sweep's command line inside the test's own process, which saves the start of PyTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

from experiments import sweep
from experiments.outcome import Outcome


def run_main(*arguments: str, cwd: Path, figures: bool = False) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `python -m experiments.sweep` in a directory, without figures unless they are asked for.

    An exception that would reach the user as a traceback reaches the test.
    """
    out, err = io.StringIO(), io.StringIO()
    handlers, level = list(logging.root.handlers), logging.root.level
    with contextlib.ExitStack() as stack:
        for patch in (
            mock.patch.object(sys, "argv", [str(Path(sweep.__file__)), *arguments]),
            mock.patch.dict(os.environ),
            mock.patch("experiments.outcome.outcome", (mine := Outcome())),
            mock.patch("experiments.sweep.outcome", mine),
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            stack.enter_context(patch)
        if not figures:
            stack.enter_context(mock.patch("experiments.plots.draw_figures", return_value={}))
        try:
            sweep.main()
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
