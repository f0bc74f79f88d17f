"""What is said of a module's step: how it was measured, what it consists of, whether it fits."""

from __future__ import annotations

from experiments.modules.step import needed_bytes
from experiments.modules.summary import Result
from experiments.text import counted
from profiler.measurement import Profile
from profiler.pytorch.elsewhere import ELSEWHERE
from profiler.units import human_bytes, human_bytes_apart, human_count, human_ns

NOT_COUNTED = (
    "not included: what kernels hold inside themselves, what the allocator keeps for later, and "
    "what "
    "the device's own library takes"
)
CARD = (
    "the kernels are those of PyTorch on the CPU; a GPU may choose others, of attention above "
    "all, and "
    "allocates in larger blocks: device=cuda predicts that"
)
PREDICTED_CARD = (
    "the kernels are those that PyTorch would take on a CUDA card of compute capability 8.0; "
    "buffers are counted in blocks of 512 bytes, as the allocator hands them out. No such "
    "prediction was compared with a card. The CUDA context takes some hundred MiB more"
)
ATTENTION = {
    "_scaled_dot_product_flash_attention_for_cpu": "flash",
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_efficient_attention": "efficient",
    "_scaled_dot_product_cudnn_attention": "cuDNN",
    "_safe_softmax": "math",
}
"""The op by which scaled_dot_product_attention shows which kernel it took."""
_INSIDE = (
    "runs as one op ({}) in inference, whose own buffers are not seen; "
    "torch.backends.mha.set_fastpath_enabled(False) takes it apart"
)
UNSEEN = {
    "_transformer_encoder_layer_fwd": "an encoder layer "
    + _INSIDE.format("_transformer_encoder_layer_fwd"),
    "_native_multi_head_attention": "an attention layer "
    + _INSIDE.format("_native_multi_head_attention"),
}
"""What is said of ops that hold more than can be seen."""


def title(result: Result) -> str:
    """Return the step in a line."""
    config = result.config
    what = "one training step" if config.mode == "train" else "one forward pass without gradients"
    return f"{config.path}, {counted(config.batch, 'example')}: {what}"


def how_measured(result: Result) -> str:
    """Return whether it was predicted or executed."""
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
    """Return what the step consists of."""
    config = result.config
    if config.mode == "forward":
        return "forward under no_grad, its output kept"
    if config.step is not None:
        return f"{config.step}, given the module and the batch; {config.dtype}"
    name = "no optimizer" if config.optimizer is None else config.optimizer.rsplit(".", 1)[-1]
    parts = [
        "forward",
        f"loss {config.loss} ({result.steps.loss})"
        if config.loss == "auto"
        else f"loss {result.steps.loss}",
        "backward",
        f"update by {name}" if config.optimizer is not None else name,
    ]
    more = [config.dtype, *([f"autocast to {config.autocast}"] if config.autocast else [])]
    more += [f"checkpointed: {', '.join(config.checkpoint)}"] if config.checkpoint else []
    return f"{', '.join(parts)}; {', '.join(more)}"


def verdict(result: Result) -> str:
    """Return whether the step fits, by which kernels, and the largest batch that does."""
    config, search = result.config, result.search
    kernels = f"with {kernels_of(result.profile, config.device)}"
    if config.memory is None:
        return f"A batch of {config.batch} needs {human_bytes(result.needed_bytes)} {kernels}."
    needs, _ = human_bytes_apart(result.needed_bytes, config.memory.nbytes)
    fits = "fits" if result.fits else "does not fit"
    words = f"A batch of {config.batch} {fits} in {config.memory} {kernels}: it needs {needs}."
    if search is None:
        reason = f": {result.not_searched}" if result.not_searched else ""
        return f"{words} The largest batch was not searched for{reason}."
    if search.largest == 0:
        needs, _ = human_bytes_apart(search.needed[1], config.memory.nbytes)
        return f"{words} Not even one example fits: that needs {needs}."
    if search.is_bound:
        return f"{words} So does every batch that was tried, up to {search.largest:,}."
    inside, outside, _ = human_bytes_apart(
        search.needed[search.largest], search.needed[search.largest + 1], config.memory.nbytes
    )
    return (
        f"{words} The largest batch that fits is {search.largest:,} ({inside}); "
        f"{search.largest + 1:,} would need {outside}."
    )


def kernels_of(profile: Profile, device: str = "cpu") -> str:
    """Return which kernels the numbers are of: whose they are, and of attention which."""
    ran = _ops(profile)
    kinds = [kind for op, kind in ATTENTION.items() if op in ran]
    whose = "a CUDA card's" if device == "cuda" else "the CPU's"
    return f"{whose} attention kernel ({' and '.join(kinds)})" if kinds else f"{whose} kernels"


def remarks(result: Result) -> list[str]:
    """Return what a reader should know besides the verdict."""
    first, later = (needed_bytes(profile) for profile in (result.steps.first, result.steps.later))
    lines = [
        how_measured(result),
        f"the step: {step_words(result)}",
        f"counted are whole buffers; {NOT_COUNTED}",
        PREDICTED_CARD if result.config.device == "cuda" else CARD,
    ]
    if (reserved := result.profile.reserved_bytes) is not None:
        lines.append(
            f"for a step the allocator would reserve {human_bytes(reserved)} on the card, by a "
            "model of it"
        )
    if first > later:
        needs, _ = human_bytes_apart(first, later)
        lines.append(f"the first step needs more than later ones, {needs}, and has to fit")
    ran = _ops(result.profile)
    lines += _executed(result)
    lines += [words for op, words in UNSEEN.items() if op in ran]
    lines += _not_counted(result.profile)
    return [f"{line[0].upper()}{line[1:].rstrip('.')}." for line in lines]


def _not_counted(profile: Profile) -> list[str]:
    """Return what is said of ops without operations, and of those that were not seen at all."""
    lines = []
    for elsewhere, words in (
        (False, "operations exclude those of ops that the table lacks"),
        (True, "neither the operations nor the bytes of these were seen"),
    ):
        ops = [
            f"{op} ({counted(calls, 'call')})"
            for op, calls in profile.uncounted.items()
            if op.endswith(ELSEWHERE) is elsewhere
        ]
        if ops:
            lines.append(f"{words}: {', '.join(ops)}")
    return lines


def _executed(result: Result) -> list[str]:
    """Return what running the step on real tensors added."""
    executed, lines = result.executed, []
    if executed is None:
        return []
    if result.predicted is not None:
        found, said = executed.steps.later.peak_bytes, result.profile.peak_bytes
        by = f"{human_count(abs(found - said))} bytes {'more' if found > said else 'less'} than"
        same = f"{'the same as' if found == said else by} predicted"
        lines.append(
            f"executed: the peak above what exists before is {human_count(found)} bytes, {same}"
        )
    took = f"a step takes {human_ns(executed.wall_ns)} (median of {result.config.repeats})"
    if executed.process_bytes is not None:
        took += f"; the process's resident memory rose by {human_bytes(executed.process_bytes)}"
    return [*lines, f"executed: {took}"]


def _ops(profile: Profile) -> set[str]:
    """Return the short names of the ops that ran."""
    return {
        profile.ledger.names.step(step).rsplit("#", 1)[0].rsplit(".", 1)[-1]
        for step in range(len(profile.ledger.phases))
    }
