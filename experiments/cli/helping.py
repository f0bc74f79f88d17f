"""The text of `--help` of a command composed by Hydra, read from the files in `configs`.

Hydra's own takes more than a second, since it rebuilds its repository of configs for each group;
`--hydra-help` still goes to Hydra.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent, indent

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_GROUP = re.compile(r"^  - (\w+): (\w+)$", re.MULTILINE)
"""A group in a defaults list, with the preset that it begins with."""

LONGEST_BLOCK = 8
"""Lines of a key that `--help` shows in full."""

FOOTER = """
Set any key by key=value, a list by key=[1,2,4]; take a preset by GROUP=NAME.
--multirun key=1,2,4 runs a job for each value. hydra.run.dir=DIR says where results go.
--hydra-help lists the flags of Hydra (https://hydra.cc), which reads this command line.
"""


def help_text(config: str, program: str, description: str) -> str:
    """Return what `--help` prints: usage, description, groups, then every key with its default."""
    source = (CONFIGS / f"{config}.yaml").read_text(encoding="utf-8")
    defaults = dict(_GROUP.findall(source))
    groups = "\n".join(
        f"  {group}: {', '.join(_choices(group))}" for group in [*defaults, "hydra/launcher"]
    )
    keys = "".join(
        f"{group}: # of the preset {choice}\n{indent(_preset(group, choice), '  ')}"
        for group, choice in defaults.items()
        if choice != "null"
    )
    return (
        f"usage: {program} [--multirun] [KEY=VALUE ...]\n\n{dedent(description).strip()}\n\n"
        f"groups and their presets:\n{groups}\n\nkeys:\n{indent(keys + _own_keys(source), '  ')}"
        f"{FOOTER}"
    )


def _choices(group: str) -> list[str]:
    """Return the names of a group's presets."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def _preset(group: str, choice: str) -> str:
    return (CONFIGS / group / f"{choice}.yaml").read_text(encoding="utf-8")


def _own_keys(source: str) -> str:
    """Return the top-level blocks of a config that are keys of ours, with their comments."""
    blocks = re.split(r"^(?=\w)", source, flags=re.MULTILINE)[1:]
    ours = (block for block in blocks if not block.startswith(("defaults:", "hydra:")))
    return "".join(map(_shortened, ours))


def _shortened(block: str) -> str:
    """Return a block of many lines with the names of its entries instead of all that they hold."""
    key, *lines = block.splitlines(keepends=True)
    if len(lines) <= LONGEST_BLOCK:
        return block
    names = ", ".join(found[1] for line in lines if (found := re.match(r"  (\w+):", line)))
    after = "".join(line for line in lines if line.startswith("#"))
    return f"{key.rstrip()} # {names}: each a grid of its own; null leaves one out\n{after}"
