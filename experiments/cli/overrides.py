"""What is wrong with an override that Hydra cannot apply, in one line of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import OverrideParseException

from experiments.cli.helping import CONFIGS

_QUOTED = "in quotes where it has brackets, commas or spaces, such as 'grid.n=[1,2,4]'"


def wrong_override(error: Exception, config: str, arguments: Sequence[str]) -> str | None:
    """Return which of a command's arguments made Hydra raise an error, what is expected, and why.

    `config` names the command's config. None where no argument raises that error by itself: it did
    not come from composing the config. Call it when Hydra is done, since it composes again.
    """
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is no KEY=VALUE; expected one, {_quoted(error.override)}"
    if "Ambiguous value" in str(error):  # which Hydra says of the command line only
        arguments = [one for one in arguments if f"'{one}'" in str(error)]
        return f"{arguments[0]}: {_expected(error, arguments[0])}" if arguments else None
    for argument in arguments:
        if not argument.startswith("-") and _raises(error, config, argument):
            return f"{argument}: {_expected(error, argument)}"
    return None


def _quoted(override: str) -> str:
    """Return how to write an override that Hydra cannot parse: calls in quotes, where it has any.

    Calls are planners, such as `revolve(snapshots=3)`; Hydra reads them as functions of its own.
    """
    key, is_set, value = override.partition("=")
    calls = re.sub(r"""(?<!["'\w.:])([\w.:]+\([^()"']*\))""", r'"\1"', value)
    return f"with calls in quotes: '{key}={calls}'" if is_set and calls != value else _QUOTED


def _raises(error: Exception, config: str, override: str) -> bool:
    """Return whether a config raises an error also with a single override."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            compose(config, overrides=[override])
    except Exception as found:  # Hydra raises whatever its own code runs into
        return (type(found), str(found)) == (type(error), str(error))
    return False


def _expected(error: Exception, override: str) -> str:
    key, _, value = override.lstrip("+~").partition("=")
    said = str(error)
    if "Could not delete" in said:
        return "there is no such key to remove; expected a key of --help"
    if "Could not append" in said:
        return f"the key is there already; expected no +; write {key}={value}"
    if "Ambiguous value" in said:
        return (
            f"a value with commas; expected a list; write '{key}=[{value}]', or add --multirun "
            "for a job each"
        )
    if key and (CONFIGS / key).is_dir():
        presets = sorted(path.stem for path in (CONFIGS / key).glob("*.yaml"))
        return f"expected the name of a preset: {', '.join(presets)}; or set a key below {key}"
    return "the key takes no value of that shape; expected one like the default"
