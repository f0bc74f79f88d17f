"""What to do where a step does not fit: the plan that trains it within the memory, in a few lines.

The bytes that exist before the step are those of the profile, the peak above them is the plan's, of
the step traced as one program without the optimiser's update.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from experiments.modules.summary import Result
from experiments.text import percent
from profiler.units import human_bytes_apart


def training_words(result: Result) -> str:
    """Return how to train the batch within the memory, in lines; empty where nothing is to do."""
    lines = [_plan_words(result), _blocks_words(result), _by_hand_words(result)]
    return "\n".join(line for line in lines if line)


def plan_numbers(result: Result) -> dict[str, Any]:
    """Return the numbers of what to do, plain; None where there is nothing."""
    advice, found = result.advice, result.planned
    return {
        "plan": None if advice is None else asdict(advice),
        "blocks": None if result.blocks is None else asdict(result.blocks),
        "checkpoint_by_hand": None if result.by_hand is None else asdict(result.by_hand),
        "largest_planned_batch": None if found is None else found.size,
    }


def _plan_words(result: Result) -> str:
    config, memory, advice = result.config, result.config.memory, result.advice
    if advice is None or memory is None:
        return ""
    if not advice.fits:
        least, given = human_bytes_apart(advice.needed_bytes, memory.nbytes)
        return (
            f"No plan trains a batch of {config.batch} within {given}: the least takes {least}; "
            f"give a smaller batch{_largest(result)}"
        )
    planned, plain = human_bytes_apart(advice.needed_bytes, result.needed_bytes)
    optimizer = "" if config.optimizer is None else ", optimizer=optimizer"
    more = _more(advice.operations - advice.plain_operations, advice.plain_operations)
    return (
        f"To train it within {memory}: a batch of {config.batch} takes {planned} "
        f"instead of {plain}, for {more}, by\n"
        f'  model = tapemeasure.checkpointed(model, memory="{memory.text}"{optimizer})'
        f"{_largest(result)}"
    )


def _blocks_words(result: Result) -> str:
    """Return which blocks may run again, and the lines that let them."""
    found, config = result.blocks, result.config
    if found is None:
        return ""
    takes, plain = human_bytes_apart(found.needed_bytes, result.needed_bytes)
    more = _more(found.operations - found.plain_operations, found.plain_operations)
    names = ", ".join(found.modules)
    return (
        f"With PyTorch's own checkpoints around {names}: a batch of {config.batch} takes {takes} "
        f"instead of {plain}, for {more}, by\n"
        + "\n".join(f"  {line}".rstrip() for line in found.code().splitlines())
    )


def _by_hand_words(result: Result) -> str:
    """Return what the modules that were named by hand save, next to the plan of as many bytes."""
    found, config = result.by_hand, result.config
    if found is None:
        return ""
    takes, plain = human_bytes_apart(result.needed_bytes, found.plain_bytes)
    more = _more(result.profile.ops.total - found.plain_operations, found.plain_operations)
    words = (
        f"checkpoint=[{', '.join(config.checkpoint)}]: a batch of {config.batch} takes {takes} "
        f"instead of {plain}, for {more}"
    )
    if found.optimal_ratio is None:
        return f"{words}; no plan of single operations was found to compare it with"
    return (
        f"{words}; a plan of single operations takes {_more(found.optimal_ratio - 1, 1.0)} within "
        "the same bytes"
    )


def _largest(result: Result) -> str:
    """Return the largest batch that a plan trains, on a line of its own; empty if none is known."""
    found, search = result.planned, result.search
    if found is None or result.config.memory_bytes is None:
        return ""
    needs, _ = human_bytes_apart(found.needed_bytes, result.config.memory_bytes)
    batches = (
        f"{found.size:,}" if search is None else f"{found.size:,} instead of {search.largest:,}"
    )
    more = _more(found.operations - found.plain_operations, found.plain_operations)
    words = (
        "The largest batch with a plan is"
        if found.is_largest
        else "A plan trains a batch of at least"
    )
    return f"\n{words} {batches} ({needs}, for {more})"


def _more(more: float, plain: float) -> str:
    """Return what a plan costs in words: a share that rounds to nothing is not called nothing."""
    if not more:
        return "no more operations"
    share = percent(more, plain)
    return f"{'less than 0.1%' if share == '0%' else share} more operations"
