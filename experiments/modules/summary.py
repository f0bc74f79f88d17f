"""What is said of a module's step: how it was measured, what it needs, whether that fits, who holds the peak, which modules take what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.modules.config import ModuleConfig
from experiments.modules.execution import Execution
from experiments.modules.plans import Plans
from experiments.modules.prediction import Search
from experiments.modules.step import Steps, needed_bytes
from experiments.text import counted, percent
from profiler.measurement import Profile
from profiler.savings import savings_text
from profiler.units import human_bytes, human_count, human_ns

GIVEN_WORDS = {
    "parameter": "parameters",
    "buffer": "buffers",
    "optimizer_state": "optimizer state",
    "input": "inputs",
    "parameter_gradient": "gradients from before",
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
NOT_COUNTED = "not in it: what kernels hold inside themselves, what the allocator keeps for later, and what the device's own library takes"
LSTM = "mkldnn_rnn_layer"
_INSIDE = "runs as one op ({}) in inference, and what that holds inside is not seen; torch.backends.mha.set_fastpath_enabled(False) takes it apart."
UNSEEN = {
    LSTM: f"The workspace of PyTorch’s LSTM on the CPU ({LSTM}) is not predicted: execute=true measures it.",
    "_transformer_encoder_layer_fwd": f"An encoder layer {_INSIDE.format('_transformer_encoder_layer_fwd')}",
    "_native_multi_head_attention": f"An attention layer {_INSIDE.format('_native_multi_head_attention')}",
}
"""What is said of ops that hold more than they tell."""


@dataclass(frozen=True, eq=False)
class Result:
    """What was found: the steps on fake tensors (None: they cannot run it), how the module was made for that, the search, the execution."""

    config: ModuleConfig
    predicted: Steps | None
    how: str
    search: Search | None
    executed: Execution | None
    not_predicted: str = ""
    plans: Plans | None = None

    @property
    def steps(self) -> Steps:
        """What the report is about: the prediction, or where there is none the execution."""
        if self.predicted is not None:
            return self.predicted
        assert self.executed is not None
        return self.executed.steps

    @property
    def profile(self) -> Profile:
        """The profile of a later step."""
        return self.steps.later

    @property
    def needed_bytes(self) -> int:
        """What the step needs."""
        return self.steps.needed_bytes

    @property
    def fits(self) -> bool | None:
        """Whether the step fits in the memory that was given; None where none was."""
        return (
            None
            if self.config.memory_bytes is None
            else self.needed_bytes <= self.config.memory_bytes
        )


def title(result: Result) -> str:
    """The step in a line."""
    config = result.config
    what = "one training step" if config.mode == "train" else "one forward pass without gradients"
    return f"{config.path}, {counted(config.batch, 'example')}: {what}"


def how_measured(result: Result) -> str:
    """Whether it was predicted or executed."""
    if result.predicted is None:
        return f"measured on real tensors, since {result.not_predicted}"
    made = {
        "fake": "",
        "meta": "; its constructor reads values, so it was made on the meta device",
        "real": "; its constructor reads values, so it was made for real, once",
    }[result.how]
    also = "; executed on real tensors as well" if result.executed is not None else ""
    return f"predicted on fake tensors: nothing was computed, no memory taken{made}{also}"


def step_words(result: Result) -> str:
    """What the step consists of."""
    config = result.config
    if config.mode == "forward":
        return "forward under no_grad, its output kept"
    name = "no optimizer" if config.optimizer is None else config.optimizer.rsplit(".", 1)[-1]
    parts = [
        "forward",
        f"loss {config.loss}",
        "backward",
        f"update by {name}" if config.optimizer is not None else name,
    ]
    more = [config.dtype, *([f"autocast to {config.autocast}"] if config.autocast else [])]
    more += [f"checkpointed: {', '.join(config.checkpoint)}"] if config.checkpoint else []
    return f"{', '.join(parts)}; {', '.join(more)}"


def sum_rows(result: Result) -> list[tuple[str, int]]:
    """What is added up to what the step needs: words and bytes, in order, the total last."""
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


def verdict(result: Result) -> str:
    """Whether the step fits, and the largest batch that does."""
    memory = result.config.memory_bytes
    needs = f"needs {human_bytes(result.needed_bytes)}"
    if memory is None:
        return f"A batch of {result.config.batch} {needs}."
    words = f"A batch of {result.config.batch} {'fits' if result.fits else 'does not fit'} in {human_bytes(memory)}: it {needs}."
    if result.search is None:
        return f"{words} The largest batch was not searched for."
    search = result.search
    if search.largest == 0:
        return f"{words} Not even one example fits: that needs {human_bytes(search.needed[1])}."
    if search.is_bound:
        return f"{words} So does every batch that was tried, up to {search.largest:,}."
    inside, outside = search.needed[search.largest], search.needed[search.largest + 1]
    return (
        f"{words} The largest batch that fits is {search.largest:,} ({human_bytes(inside)}); "
        f"{search.largest + 1:,} would need {human_bytes(outside)}."
    )


def remarks(result: Result) -> list[str]:
    """What a reader should know beside the verdict."""
    lines = [
        f"{how_measured(result)}.",
        f"The step: {step_words(result)}.",
        f"Counted are whole buffers; {NOT_COUNTED}.",
    ]
    first, later = (needed_bytes(profile) for profile in (result.steps.first, result.steps.later))
    if first > later:
        lines.append(
            f"The first step needs more than later ones, {human_bytes(first)}, and is what has to fit."
        )
    executed = result.executed
    if executed is not None and result.predicted is not None:
        found, said = executed.steps.later.peak_bytes, result.profile.peak_bytes
        same = (
            "the same as predicted"
            if found == said
            else f"{human_count(abs(found - said))} bytes {'more' if found > said else 'less'} than predicted"
        )
        lines.append(
            f"Executed: the peak above what exists before is {human_count(found)} bytes, {same}."
        )
    if executed is not None:
        process = (
            ""
            if executed.process_bytes is None
            else f"; the process's resident memory rose by {human_bytes(executed.process_bytes)}"
        )
        lines.append(
            f"Executed: a step takes {human_ns(executed.wall_ns)} (median of {result.config.repeats}){process}."
        )
    ran = _ops(result.profile)
    lines += [
        words
        for op, words in UNSEEN.items()
        if op in ran and (result.predicted is not None or op != LSTM)
    ]
    if result.profile.uncounted:
        ops = ", ".join(
            f"{op} ({counted(calls, 'call')})" for op, calls in result.profile.uncounted.items()
        )
        lines.append(f"Operations are without those of ops that the table lacks: {ops}.")
    return [line[0].upper() + line[1:] for line in lines]


def _ops(profile: Profile) -> set[str]:
    """The short names of the ops that ran."""
    return {
        profile.ledger.names.step(step).rsplit("#", 1)[0].rsplit(".", 1)[-1]
        for step in range(len(profile.ledger.phases))
    }


def shown_modules(frame: pd.DataFrame, depth: int | None) -> pd.DataFrame:
    """The rows of `Profile.by_module()` down to a depth; without one, as deep as two dozen rows go. Lists of modules, never called, are left out."""
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
    """A row of the table by module as text: name, class, then numbers, counts as `count` writes them; zero is an empty cell."""
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
    """The columns that have something to say, and their headings."""
    return {
        column: words
        for column, words in COLUMNS.items()
        if column in frame and int(frame[column].sum())
    }


def plans_words(plans: Plans | None, most: int = 6) -> str:
    """What checkpointing would save, in a few lines of text; empty where nobody asked."""
    if plans is None:
        return ""
    if plans.savings is None:
        return f"What checkpointing would save is not told: {plans.reason}"
    return f"What checkpointing would save, as PyTorch's ops planned by this project's planners: {savings_text(plans.savings, most)}"


def plan_rows(plans: Plans | None) -> list[dict[str, str]]:
    """Keeping everything, and each plan that nothing beats, as the lines of a table."""
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
    """The greatest buffers that are alive at the peak: what they are, how large, and why they live."""
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
