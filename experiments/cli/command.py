"""Run a command composed by Hydra: one exit code, and one line for whatever goes wrong.

Hydra would print a traceback for most errors, and would end an interrupted process in its own way,
so errors are passed through it and end here.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.exit import FINE, SOME_FAILED, WRONG_INPUT, outcome, program_of
from experiments.cli.helping import CONFIGS, help_text
from experiments.cli.interrupts import exit_code_of
from experiments.cli.overrides import wrong_override
from experiments.errors import ConfigError, disk_advice, one_line
from experiments.keys import choice, known_keys

_FULL_ERROR = "HYDRA_FULL_ERROR"
_LAUNCHER = re.compile(r"hydra_plugins\.hydra_(\w+)_launcher")


def print_help(config: str, module: str, description: str | None) -> None:
    """Print the help of a command and exit, if `--help` or `-h` is among the arguments."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text(config, " ".join(program_of(module)), description or ""))
        sys.exit(FINE)


def run_command(
    task: Callable[[], Any],
    config: str,
    interrupted: str,
    close: Callable[[], None] = lambda: None,
) -> None:
    """Run a function that `hydra.main` made, then `close`, and exit with the worst code noted.

    `config` names what Hydra composes, `interrupted` is the line for Ctrl-C. With
    HYDRA_FULL_ERROR=1 in the environment an error is raised as it is.
    """
    for argument in sys.argv[1:]:
        missing = missing_launcher(_launcher_target(argument))
        if missing is not None:
            print(missing, file=sys.stderr)
            sys.exit(WRONG_INPUT)
    full_error = os.environ.get(_FULL_ERROR) == "1"
    os.environ[_FULL_ERROR] = "1"  # Hydra then raises what it would print as a traceback
    try:
        task()
    except KeyboardInterrupt as error:
        outcome.exit_codes.append(exit_code_of(error))
        print(interrupted, file=sys.stderr)
    except Exception as error:
        if full_error:
            raise
        outcome.exit_codes.append(_report(error, config))
    finally:
        close()
    sys.exit(outcome.exit_code())


def missing_launcher(text: str) -> str | None:
    """Return the error for the launcher's plugin that a text names, None if it is installed."""
    plugin = _LAUNCHER.search(text)
    if plugin is None:
        return None
    try:
        found = find_spec(plugin[0])
    except ModuleNotFoundError:  # there is no plugin at all
        found = None
    if found is not None:
        return None
    extra = {"submitit": "slurm"}.get(plugin[1], plugin[1])
    return (
        f"error: the launcher {plugin[1]} is not installed; "
        f"install the extra: pip install 'tapemeasure[{extra}]'"
    )


def _launcher_target(argument: str) -> str:
    """Return the text of the preset that an argument `hydra/launcher=NAME` takes, else nothing."""
    preset = CONFIGS / f"{argument.replace('=', '/', 1)}.yaml"
    if not argument.startswith("hydra/launcher=") or not preset.is_file():
        return ""
    return preset.read_text(encoding="utf-8")


def _report(error: Exception, config: str) -> int:
    """Print an error in one line; return the exit code."""
    if (said := _of_composing(error, config)) is not None:
        print(f"error: {said}; --help lists the keys", file=sys.stderr)
        return WRONG_INPUT
    missing = missing_launcher(str(error))
    if missing is not None:
        print(missing, file=sys.stderr)
        return WRONG_INPUT
    cause = _cause(error)
    advice = disk_advice(cause) if isinstance(cause, OSError) else ""
    what_to_do = (
        f"{advice}, then run the same command again"
        if advice
        else f"set {_FULL_ERROR}=1 in the environment for a traceback"
    )
    print(f"error: {one_line(cause)}; {what_to_do}", file=sys.stderr)
    return SOME_FAILED


def _of_composing(error: Exception, config: str) -> str | None:
    """Return what is wrong with a config that Hydra could not compose, in our words if we can.

    None if the error did not come from composing.
    """
    cause = error.__cause__
    try:
        if isinstance(error, MissingConfigException) and error.options:
            group, _, preset = (error.missing_cfg_file or "").rpartition("/")
            choice(group, preset, tuple(error.options))
        if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig):
            where = str(cause.full_key).removesuffix(str(cause.key))
            known = [] if cause.parent_node._is_none() else list(cause.parent_node)
            if not known:
                return (
                    f"{where.rstrip('.')} has no keys yet; expected a + before a new one, "
                    f"'+{cause.full_key}=…'"
                )
            known_keys(where, [cause.key], [str(key) for key in known if key != "hydra"])
    except ConfigError as ours:
        return str(ours)
    said = wrong_override(error, config, sys.argv[1:])
    if said is not None or not isinstance(error, HydraException | OmegaConfBaseException):
        return said
    return "; ".join(" ".join(str(part).split()).rstrip(".") for part in (error, cause) if part)


def _cause(error: BaseException) -> BaseException:
    """Return the operating system's error among the causes of an error, else the error itself."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return error if cause is None else cause
