"""The blocks of a model: what a few lines of torch.utils.checkpoint would name.

A block is a member of a list or a sequence of modules. `lines_for` writes the lines that let blocks
run again, to be pasted into a script.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.modules.batchnorm import _NormBase

_LISTS = (torch.nn.ModuleList, torch.nn.Sequential)


def families_of(model: torch.nn.Module) -> list[list[str]]:
    """Return lists of modules to choose from, each in the order of the model.

    They are the outermost blocks, the innermost ones, and the outermost with their parts.
    """
    members = [
        f"{name}.{number}" if name else number
        for name, part in model.named_modules()
        if isinstance(part, _LISTS)
        for number, child in part.named_children()
        if _runs(child) and _learns(child)
    ]
    outer = [name for name in members if not any(name.startswith(f"{one}.") for one in members)]
    inner = [name for name in members if not any(one.startswith(f"{name}.") for one in members)]
    nested = [name for block in outer for name in (block, *_parts(model, block))]
    return list(map(list, dict.fromkeys(map(tuple, (outer, inner, nested)))))


def _parts(model: torch.nn.Module, block: str) -> list[str]:
    children = model.get_submodule(block).named_children()
    return [f"{block}.{name}" for name, part in children if _learns(part) and _runs(part)]


def _runs(module: torch.nn.Module) -> bool:
    return not isinstance(module, torch.nn.ModuleList | torch.nn.ModuleDict)


def _learns(module: torch.nn.Module) -> bool:
    return any(True for _ in module.parameters())


def norms_in(model: torch.nn.Module, names: Sequence[str]) -> list[str]:
    """Return the norms in the named modules that update running statistics, each once."""
    found = [
        f"{name}.{inner}" if inner else name
        for name in names
        for inner, part in model.get_submodule(name).named_modules()
        if isinstance(part, _NormBase) and part.track_running_stats and part.training
    ]
    return list(dict.fromkeys(found))


def lines_for(names: Sequence[str], norms: Sequence[str] = ()) -> str:
    """Return lines that wrap the named modules in torch.utils.checkpoint.

    A comment says of `norms` that they update their running statistics in every run.
    """
    if not names:
        return "# nothing has to run again"
    listed = "".join(f"    {name!r},\n" for name in names)
    twice = "".join(f"#   {name}\n" for name in norms)
    warning = (
        "# Unlike the plan, these lines update running statistics in every run of the norms:\n"
        f"{twice}"
    )
    return (
        f"{warning if norms else ''}"
        "from functools import partial\n"
        "from torch.utils.checkpoint import checkpoint\n\n"
        f"for name in (\n{listed}):\n"
        "    part = model.get_submodule(name)\n"
        "    part.forward = partial(checkpoint, part.forward, use_reentrant=False)"
    )
