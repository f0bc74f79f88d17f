"""A module's step as a card would run it, from config to verdict."""

from __future__ import annotations

import pytest

from experiments.errors import ConfigError
from experiments.modules import profiling
from experiments.modules.sentences import remarks, verdict
from profiler.pytorch.allocator import BLOCK_BYTES
from tests.support.module_configs import attention, config_of


@pytest.mark.parametrize(
    ("more", "kernel"),
    [
        ((), "efficient"),
        (("autocast=bfloat16",), "flash"),
        (("attention=math",), "math"),
    ],
)
def test_the_verdict_names_the_kernel_of_a_card(more: tuple[str, ...], kernel: str) -> None:
    """With dropout a card takes a fused kernel; the verdict says whose kernel it is, and the
    remarks that no prediction was compared with a card.
    """
    result = profiling.measured(attention(0.1, "device=cuda", *more))
    assert verdict(result).endswith(f"with a CUDA card's attention kernel ({kernel}).")
    assert any("No such prediction was compared with a card" in line for line in remarks(result))
    assert any("would reserve 22 MiB on the card" in line for line in remarks(result))
    assert result.profile.given_bytes["workspace"] > 0


def test_a_card_with_a_fused_kernel_needs_less() -> None:
    """What the CPU's math kernel keeps for dropout, the scores, is not part of a card's step."""
    sizes = ("batch=64", "input.shape=[128,8]")
    scores = 64 * 128 * 128 * 4
    on_cpu = profiling.measured(attention(0.1, *sizes)).profile.peak_bytes
    on_card = profiling.measured(attention(0.1, "device=cuda", *sizes)).profile.peak_bytes
    assert on_cpu - on_card > 3 * scores


def test_an_update_on_a_card_takes_all_parameters_at_once() -> None:
    """PyTorch updates with `foreach` on a card, unless another way is asked for: one temporary of
    all parameters, where one after the other takes two of the largest.
    """
    model = ("model.path=torch.nn.Linear", "model.arguments={in_features: 512, out_features: 512}")
    card = (*model, "input.shape=[512]", "batch=1", "device=cuda", "plans=false")
    together = profiling.measured(config_of(*card)).profile
    apart = profiling.measured(config_of(*card, "optimizer_arguments={foreach: false}")).profile
    weight, bias = 4 * 512 * 512, 4 * 512
    gradients, loss = weight + bias, BLOCK_BYTES
    assert together.peak_bytes == gradients + loss + weight + bias
    assert apart.peak_bytes == gradients + loss + 2 * weight


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("device=cuda", "execute=true"), "execute=true with device=cuda"),
        (("attention=flash",), "expected device=cuda"),
        (("device=tpu",), "expected one of cpu, cuda"),
        (("device=cuda", "attention=fast"), "expected one of flash, efficient, math, cudnn"),
    ],
)
def test_a_card_that_cannot_be_asked_for(given: tuple[str, ...], said: str) -> None:
    """What cannot be predicted together is one line."""
    with pytest.raises(ConfigError, match=said):
        attention(0.0, *given)
