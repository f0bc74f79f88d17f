"""One row for each module: calls, parameters, operations by phase, and bytes.

The bytes are those that the module's calls bring to life, and those that are alive at the peak. A
row has what ran in the module and in those below it, so the first row, the model, has all but what
ran outside (the loss, say, or the optimizer), which the last row has.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
import torch

from autodiff.instructions import ACTIVATION, PHASES
from profiler.ledger import Ledger
from profiler.pytorch.costs import cost_of_call
from profiler.pytorch.names import StepNames
from profiler.pytorch.notes import NO_MODULE, ROLES, NamedModule, Notes

OUTSIDE = NamedModule("(outside)", "")
"""The row of what ran in no module."""

_BYTES = ("allocated_bytes", "peak_bytes", "peak_activation_bytes")


def module_rows(
    notes: Notes, phases: list[str], ledger: Ledger, names: StepNames, parameters: dict[str, int]
) -> pd.DataFrame:
    """Return the table; without a model one row, `(outside)`, has everything.

    `parameters` has the bytes of each module's parameters.
    """
    module_of = [names.module_number(step) for step in range(len(notes.calls))]
    phase_names = list(dict.fromkeys([*PHASES, *phases]))
    columns = [*(f"ops_{phase}" for phase in phase_names), "matmul_flops", *_BYTES]
    sums = {number: dict.fromkeys(columns, 0) for number in (*range(len(notes.modules)), NO_MODULE)}
    _add_operations(sums, notes, phases, module_of)
    _add_bytes(sums, ledger, module_of)
    calls = Counter(call.module for call in notes.entered if not call.recomputed)
    recomputed = Counter(call.module for call in notes.entered if call.recomputed)
    rows = []
    for number in sums:
        below = _below(notes, number)
        name, kind = notes.modules[number] if number != NO_MODULE else OUTSIDE
        row: dict[str, Any] = {
            "module": name,
            "class": kind,
            "calls": calls[number],
            "recomputed": recomputed[number],
            "parameter_bytes": parameters.get(name, 0) if number != NO_MODULE else 0,
        }
        rows.append(row | {column: sum(sums[i][column] for i in below) for column in columns})
    return pd.DataFrame(rows)


def _add_operations(
    sums: dict[int, dict[str, int]], notes: Notes, phases: list[str], module_of: list[int]
) -> None:
    for call, phase, number in zip(notes.calls, phases, module_of, strict=True):
        if (cost := cost_of_call(call)) is not None:
            sums[number][f"ops_{phase}"] += cost.total
            sums[number]["matmul_flops"] += cost.matmul_flops


def _add_bytes(sums: dict[int, dict[str, int]], ledger: Ledger, module_of: list[int]) -> None:
    at, activation = ledger.peak_step, ROLES.index(ACTIVATION)
    arrays = (ledger.nbytes, ledger.born, ledger.dies, ledger.role)
    for nbytes, born, dies, role in zip(*(array.tolist() for array in arrays), strict=True):
        held = sums[module_of[born]]
        held["allocated_bytes"] += nbytes
        if born <= at <= dies:
            held["peak_bytes"] += nbytes
            held["peak_activation_bytes"] += nbytes if role == activation else 0


def _below(notes: Notes, number: int) -> list[int]:
    """Return the numbers of a module and of those in it."""
    if number == NO_MODULE:
        return [NO_MODULE]
    name = notes.modules[number].name
    return [
        i
        for i, other in enumerate(notes.modules)
        if not name or other.name == name or other.name.startswith(name + ".")
    ]


def parameter_bytes_by_module(model: torch.nn.Module | None) -> dict[str, int]:
    """Return the bytes of the parameters of each module and those below it, each storage once."""
    if model is None:
        return {}
    found: dict[str, int] = {}
    for name, module in model.named_modules():
        storages = {
            p.untyped_storage()._cdata: p.untyped_storage().nbytes() for p in module.parameters()
        }
        found[name] = sum(storages.values())
    return found
