"""What to do where a step does not fit: the plan that trains it within the memory, as one line.

The bytes that exist before the step are those of the profile, the peak above them is the plan's, of
the step traced as one program without the optimiser's update.
"""

from __future__ import annotations

from autodiff.checkpointing.budget import Budget
from autodiff.checkpointing.costs import operations_of
from autodiff.checkpointing.sizes import peak
from autodiff.errors import BudgetError
from experiments.modules.summary import Result
from experiments.text import percent
from profiler.units import human_bytes_apart


def training_words(result: Result) -> str:
    """Return how to train the batch within the memory; empty where it fits as it is."""
    program = None if result.plans is None else result.plans.program
    config, memory = result.config, result.config.memory_bytes
    if program is None or memory is None or config.memory is None or result.fits:
        return ""
    resident = sum(result.profile.given_bytes.values())
    if memory <= resident:
        return ""  # a smaller batch does not help either, which the verdict says
    try:
        schedule = Budget(max_bytes=memory - resident)(program)
    except BudgetError as error:
        least, given = human_bytes_apart(error.peak_bytes + resident, memory)
        return (
            f"No plan trains a batch of {config.batch} within {given}: the least takes {least}; "
            f"give a smaller batch{_largest(result)}"
        )
    planned, plain = human_bytes_apart(peak(program, schedule) + resident, result.needed_bytes)
    plain_cost = float(operations_of(program).sum())
    more = (schedule.cost or 0.0) - plain_cost
    optimizer = "" if config.optimizer is None else ", optimizer=optimizer"
    return (
        f"To train it within {config.memory}: a batch of {config.batch} takes {planned} "
        f"instead of {plain}, for {_more(more, plain_cost)}, by\n"
        f'  model = tapemeasure.checkpointed(model, memory="{config.memory.text}"{optimizer})'
        f"{_largest(result)}"
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
