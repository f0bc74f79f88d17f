"""What was found for a module's step, and the rows of its tables: sums, modules, plans, buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.modules.blocks import Blocks, ByHand
from experiments.modules.config import ModuleConfig
from experiments.modules.execution import Execution
from experiments.modules.planned import Advice, PlannedBatch
from experiments.modules.plans import Plans
from experiments.modules.prediction import Search
from experiments.modules.step import Steps, needed_bytes
from experiments.text import percent
from profiler.measurement import Profile
from profiler.savings import savings_text
from profiler.units import human_bytes

GIVEN_WORDS = {
    "parameter": "parameters",
    "buffer": "buffers",
    "optimizer_state": "optimizer state",
    "input": "inputs",
    "parameter_gradient": "gradients from before",
    "workspace": "workspaces of cuBLAS",
}
PEAK_WORDS = {
    "activation": "activations",
    "gradient": "gradients of activations",
    "parameter_gradient": "parameter gradients",
    "temporary": "temporaries",
    "optimizer_state": "optimizer state made in the step",
    "parameter": "parameters made in the step",
    "buffer": "buffers made in the step",
    "input": "inputs made in the step",
}
MOST_ROWS = 24
BLAMED = 5


@dataclass(frozen=True, eq=False)
class Result:
    """What was found.

    `predicted` are the steps on fake tensors, None where those cannot run it (`not_predicted` says
    why); `how` the module was made for that; `not_searched` says why no largest batch is known.
    """

    config: ModuleConfig
    predicted: Steps | None
    how: str
    search: Search | None
    executed: Execution | None
    not_predicted: str = ""
    not_searched: str = ""
    plans: Plans | None = None
    planned: PlannedBatch | None = None
    blocks: Blocks | None = None
    by_hand: ByHand | None = None
    advice: Advice | None = None

    @property
    def steps(self) -> Steps:
        """Return what the report is about: the prediction, or where there is none the execution."""
        if self.predicted is not None:
            return self.predicted
        assert self.executed is not None
        return self.executed.steps

    @property
    def profile(self) -> Profile:
        """Return the profile of a later step."""
        return self.steps.later

    @property
    def needed_bytes(self) -> int:
        """Return what the step needs."""
        return self.steps.needed_bytes

    @property
    def fits(self) -> bool | None:
        """Return whether the step fits in the memory that was given; None where none was."""
        return (
            None
            if self.config.memory_bytes is None
            else self.needed_bytes <= self.config.memory_bytes
        )


def sum_rows(result: Result) -> list[tuple[str, int]]:
    """Return what is added up to what the step needs: words and bytes, the total last."""
    profile = result.profile
    rows = [
        (GIVEN_WORDS.get(role, role), nbytes)
        for role, nbytes in profile.given_bytes.items()
        if nbytes
    ]
    rows += [
        (f"{PEAK_WORDS.get(role, role)}, at the peak", nbytes)
        for role, nbytes in profile.peak_by_role.items()
        if nbytes
    ]
    return [*rows, ("needed", needed_bytes(profile))]


def shown_modules(frame: pd.DataFrame, depth: int | None) -> pd.DataFrame:
    """Return the rows of `Profile.by_module()` down to a depth; without one, as deep as 24 rows go.

    Lists of modules, which are never called, are left out.
    """
    levels = frame["module"].map(
        lambda name: 0 if not name or name.startswith("(") else name.count(".") + 1
    )
    used = (frame["calls"] + frame["recomputed"] > 0) | frame["module"].str.startswith("(")
    if depth is None:
        deepest = int(levels.max())
        depth = next(
            (
                level
                for level in range(deepest, 0, -1)
                if int((used & (levels <= level)).sum()) <= MOST_ROWS
            ),
            1,
        )
    return frame[used & (levels <= depth)].reset_index(drop=True)


def module_cells(
    row: Mapping[Any, Any], columns: list[str], count: Callable[[int], str]
) -> list[str]:
    """Return a row of the table by module as text: name, class, then numbers.

    `count` writes the counts; zero is an empty cell.
    """
    cells = [row["module"] or "(the whole module)", row["class"]]
    for column in columns:
        value = int(row[column])
        cells.append(
            "" if value == 0 else human_bytes(value) if column.endswith("bytes") else count(value)
        )
    return cells


COLUMNS = {
    "parameter_bytes": "parameters",
    "ops_forward": "forward operations",
    "ops_recompute": "recomputed",
    "ops_backward": "backward operations",
    "ops_optimizer": "update",
    "matmul_flops": "matmul flops",
    "peak_bytes": "held at the peak",
}


def columns_of(frame: pd.DataFrame) -> dict[str, str]:
    """Return the columns that have something to say, and their headings."""
    return {
        column: words
        for column, words in COLUMNS.items()
        if column in frame and int(frame[column].sum())
    }


def plans_words(plans: Plans | None, most: int = 6) -> str:
    """Return what checkpointing would save, in a few lines; empty if not asked for."""
    if plans is None:
        return ""
    if plans.savings is None:
        return f"What checkpointing would save is not known: {plans.reason}"
    return (
        "What checkpointing would save, as PyTorch's ops planned by this project's planners: "
        f"{savings_text(plans.savings, most)}"
    )


def plan_rows(plans: Plans | None) -> list[dict[str, str]]:
    """Return keeping everything, and each plan that nothing beats, as rows of a table."""
    if plans is None or plans.savings is None:
        return []
    rows = []
    for at, row in enumerate(plans.savings.to_dict("records")):
        if at and not row["is_best"]:
            continue
        rows.append(
            {
                "plan": str(row["planner"]),
                "peak": human_bytes(row["peak_bytes"]),
                "saved": percent(row["saved_share"], 1) if at else "–",
                "more": percent(row["more_share"], 1) if at else "–",
                "why": str(row["why"]),
            }
        )
    return rows


def blame(profile: Profile) -> list[dict[str, str]]:
    """Return the largest buffers alive at the peak: what they are, how large, and why they live."""
    rows = []
    for row in profile.alive_at_peak().head(BLAMED).to_dict("records"):
        rows.append(
            {
                "buffer": str(row["node"]),
                "bytes": human_bytes(row["bytes"]),
                "role": str(row["role"]).replace("_", " "),
                "why": str(row["why"]).removeprefix("because "),
            }
        )
    return rows
