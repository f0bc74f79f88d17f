"""One row a module: calls, parameters, operations by phase, bytes that its calls bring to life and those that are alive at the peak.

A row has what ran in the module and in those below it, so the first row, the model, has all but what ran outside (the loss, say, or the
optimiser), which the last row has.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
import torch

from profiler.ledger import Ledger
from profiler.pytorch.interpret import counts_of
from profiler.pytorch.names import NOWHERE, StepNames
from profiler.pytorch.notes import ROLES, Notes

OUTSIDE = "(outside)"


def module_rows(
    notes: Notes, phases: list[str], ledger: Ledger, names: StepNames, parameters: dict[str, int]
) -> pd.DataFrame:
    """The table; without a model one row, `(outside)`, has everything. `parameters` has the bytes of each module's parameters."""
    own = [names.module_number(step) for step in range(len(notes.calls))]
    calls, recomputed = (
        Counter(module for module, again in notes.entered if not again),
        Counter(module for module, again in notes.entered if again),
    )
    phase_names = list(dict.fromkeys(["forward", "recompute", "backward", *phases]))
    numbers = [*range(len(notes.modules)), NOWHERE]
    work: dict[int, dict[str, int]] = {
        number: dict.fromkeys([*phase_names, "matmul_flops"], 0) for number in numbers
    }
    for step, number in enumerate(own):
        counts = counts_of(*notes.calls[step][:4])
        if counts is not None:
            work[number][phases[step]] += sum(counts[:4])
            work[number]["matmul_flops"] += counts[4]
    held: dict[int, dict[str, int]] = {
        number: {"born": 0, "peak": 0, "activations": 0} for number in numbers
    }
    at, activation = ledger.peak_step, ROLES.index("activation")
    for nbytes, born, dies, role in zip(
        *(array.tolist() for array in (ledger.nbytes, ledger.born, ledger.dies, ledger.role)),
        strict=True,
    ):
        number = own[born]
        held[number]["born"] += nbytes
        if born <= at <= dies:
            held[number]["peak"] += nbytes
            held[number]["activations"] += nbytes if role == activation else 0
    rows = []
    for number in numbers:
        name, kind = notes.modules[number] if number != NOWHERE else (OUTSIDE, "")
        if number == NOWHERE:
            below = [NOWHERE]
        else:
            below = [
                i
                for i, (other, _) in enumerate(notes.modules)
                if not name or other == name or other.startswith(name + ".")
            ]
        row: dict[str, Any] = {
            "module": name,
            "class": kind,
            "calls": calls[number],
            "recomputed": recomputed[number],
        }
        row["parameter_bytes"] = parameters.get(name, 0) if number != NOWHERE else 0
        row |= {f"ops_{phase}": sum(work[i][phase] for i in below) for phase in phase_names}
        row["matmul_flops"] = sum(work[i]["matmul_flops"] for i in below)
        row["allocated_bytes"] = sum(held[i]["born"] for i in below)
        row["peak_bytes"] = sum(held[i]["peak"] for i in below)
        row["peak_activation_bytes"] = sum(held[i]["activations"] for i in below)
        rows.append(row)
    return pd.DataFrame(rows)


def parameter_bytes_by_module(model: torch.nn.Module | None) -> dict[str, int]:
    """The bytes of the parameters of each module and those below it, each storage once."""
    if model is None:
        return {}
    found: dict[str, int] = {}
    for name, module in model.named_modules():
        storages = {
            p.untyped_storage()._cdata: p.untyped_storage().nbytes() for p in module.parameters()
        }
        found[name] = sum(storages.values())
    return found
