"""Steps as a card would run them, predicted without one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from autodiff.errors import GraphError
from profiler import Profile, profile_step
from profiler.pytorch.attention import Attention, kernel_of
from profiler.pytorch.cuda import CUBLAS_WORKSPACE_BYTES, as_on_cuda
from tests.support.paths import ROOT

B, H, S, D = 2, 4, 64, 32


def attention(dtype: torch.dtype, dropout: float = 0.0, **given: Any) -> Profile:
    """Return the profile of attention and its backward pass on a card; scores are B·H·S·S."""
    with FakeTensorMode():
        q, k, v = (torch.randn(B, H, S, D, dtype=dtype, requires_grad=True) for _ in range(3))

        def step(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
            torch.nn.functional.scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, is_causal=True
            ).sum().backward()

        return profile_step(step, q, k, v, device="cuda", **given)


def ops(profile: Profile) -> set[str]:
    """Return the names of the ops that ran."""
    return {profile.ledger.names.step(i).split("#")[0] for i in range(len(profile.ledger.phases))}


HALF, FULL, DOUBLE = torch.bfloat16, torch.float32, torch.float64


@pytest.mark.parametrize(
    ("kernel", "dtype", "heads", "more"),
    [
        ("flash", HALF, 32, {}),
        ("flash", HALF, 32, {"dropout": 0.1, "is_causal": True}),
        ("flash", HALF, 30, {}),
        ("flash", HALF, 256, {}),
        ("efficient", FULL, 32, {"dropout": 0.1}),
        ("efficient", HALF, 32, {"mask": torch.ones(S, S, dtype=torch.bool)}),
        ("efficient", HALF, 264, {}),
        ("efficient", FULL, 4, {}),
        ("math", FULL, 6, {}),
        ("math", HALF, 260, {}),
        ("math", DOUBLE, 32, {}),
    ],
)
def test_the_kernel_that_a_card_takes(
    kernel: str, dtype: torch.dtype, heads: int, more: dict[str, Any]
) -> None:
    """By dtype, size of the heads, mask and dropout, on a card of compute capability 8.0."""
    q = torch.empty(B, H, S, heads, dtype=dtype)
    assert kernel_of(Attention(q, q, q, **more)) == kernel


def test_what_agrees_in_shape_only() -> None:
    """Causal attention to other keys is not flash; heads that share keys only where that is asked
    for; three dimensions are left to the math kernel.
    """
    q, k = torch.empty(B, H, S, D, dtype=HALF), torch.empty(B, H, 2 * S, D, dtype=HALF)
    few = torch.empty(B, 2, S, D, dtype=HALF)
    assert kernel_of(Attention(q, k, k)) == "flash"
    assert kernel_of(Attention(q, k, k, is_causal=True)) == "efficient"
    assert kernel_of(Attention(q, few, few, grouped=True)) == "flash"
    assert kernel_of(Attention(q, few, few)) == "math"
    # Only flash and cuDNN let heads share keys; only cuDNN with another number of values.
    whole, shared = q.float(), few.float()
    assert kernel_of(Attention(whole, shared, shared, grouped=True)) == "math"
    assert kernel_of(Attention(q, few, q, grouped=True)) == "math"
    assert kernel_of(Attention(q, few, q, grouped=True), "cudnn") == "cudnn"
    with pytest.raises(GraphError, match="expected as many heads of keys and values as of queries"):
        kernel_of(Attention(whole, shared, shared, grouped=True), "efficient")
    assert kernel_of(Attention(q[0], q[0], q[0])) == "math"


@pytest.mark.parametrize(
    ("kernel", "dtype", "dropout", "words"),
    [
        ("flash", FULL, 0.0, "expected float16 or bfloat16"),
        ("cudnn", HALF, 0.1, "expected a dropout in sixteenths"),
        ("efficient", DOUBLE, 0.0, "expected float32, float16 or bfloat16"),
    ],
)
def test_a_kernel_that_cannot_serve_is_refused(
    kernel: str, dtype: torch.dtype, dropout: float, words: str
) -> None:
    """A kernel that is forced where it cannot serve: what it needs, in one line."""
    with pytest.raises(GraphError, match=words):
        attention(dtype, dropout, attention=kernel)


def test_a_fused_kernel_keeps_no_scores() -> None:
    """Flash keeps the result, a logarithm for each row and the state of the generator; math keeps
    the scores in float32, the mask of dropout, and what is left.
    """
    result, rows = B * H * S * D * 2, B * H * S * 4
    scores = B * H * S * S
    flash = attention(HALF, 0.1)
    sum_, seed = 512, 2 * 512  # buffers of a few bytes take a block each
    forward = flash.timeline().query("phase == 'forward'")["live_bytes"].max()
    assert forward == result + rows + seed + sum_
    assert attention(HALF, 0.1, attention="math").peak_bytes > scores * (4 + 4 + 1)
    assert ops(flash) >= {"_scaled_dot_product_flash_attention"}


@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn", "math"])
def test_a_kernel_can_be_forced(kernel: str) -> None:
    """Each kernel serves bfloat16 without dropout, and every op of both passes is counted."""
    profile = attention(HALF, attention=kernel)
    name = "_safe_softmax" if kernel == "math" else f"_scaled_dot_product_{kernel}_attention"
    assert name in ops(profile)
    assert profile.uncounted == {}


def test_dropout_keeps_a_mask_of_bytes() -> None:
    """A card keeps one byte an element; the CPU keeps the scaled mask, as large as the result."""
    n = 4096
    with FakeTensorMode():
        x = torch.randn(n, requires_grad=True)

        def step(x: torch.Tensor) -> Any:
            return torch.nn.functional.dropout(x, 0.1)

        assert profile_step(step, x, device="cuda").peak_bytes == 4 * n + n
        assert profile_step(step, x).peak_bytes == 4 * n + 4 * n


def test_buffers_are_handed_out_in_blocks() -> None:
    """Each buffer takes a multiple of 512 bytes, whether given or made; products take a workspace
    of cuBLAS in each of the two threads.
    """
    with FakeTensorMode():
        layer = torch.nn.Linear(3, 5)
        x = torch.randn(2, 3)
        forward = profile_step(layer, x, model=layer, device="cuda")
        assert forward.peak_bytes == 512
        assert forward.given_bytes["parameter"] == 2 * 512
        assert forward.given_bytes["workspace"] == CUBLAS_WORKSPACE_BYTES == 8_519_680
        both = profile_step(lambda: layer(x).sum().backward(), model=layer, device="cuda")
        assert both.given_bytes["workspace"] == 2 * CUBLAS_WORKSPACE_BYTES


def test_autocast_computes_norms_and_softmax_in_float32() -> None:
    """As on a card, and not as on the CPU, where they keep the type that they find."""
    with FakeTensorMode():
        norm, x = torch.nn.LayerNorm(8), torch.randn(4, 8)
        found = []

        def step(x: torch.Tensor) -> None:
            with torch.autocast("cpu", torch.bfloat16):
                product = x @ x.T
                found.extend(
                    (
                        product.dtype,
                        norm(x.bfloat16()).dtype,
                        product.softmax(-1).dtype,
                        product.sum().dtype,
                        product.exp().dtype,
                    )
                )

        profile_step(step, x, model=norm, device="cuda")
        profile_step(step, x, model=norm)
    assert found == [HALF, *[FULL] * 4, HALF, *[HALF] * 4]


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_a_card_is_a_card_without_gradients_too(without: Callable[[], Any]) -> None:
    """Attention by the card's kernel, and dropout with its mask, also in inference mode."""
    with FakeTensorMode():
        q = torch.randn(B, H, S, D)

        def step() -> torch.Tensor:
            with without():
                made = torch.nn.functional.scaled_dot_product_attention(q, q, q)
                return torch.nn.functional.dropout(made, 0.1)

        found = ops(profile_step(step, device="cuda"))
    assert {"_scaled_dot_product_efficient_attention", "native_dropout"} <= found


def test_afterwards_the_cpu_is_itself() -> None:
    """Attention and dropout run as before once the prediction is over, also after an error."""
    x = torch.randn(2, 2, 4, 4)
    expected = torch.nn.functional.scaled_dot_product_attention(x, x, x)
    with pytest.raises(ZeroDivisionError), as_on_cuda():
        raise ZeroDivisionError
    assert torch.equal(torch.nn.functional.scaled_dot_product_attention(x, x, x), expected)
    noted = ops(profile_step(lambda: torch.nn.functional.dropout(x.requires_grad_(), 0.5)))
    assert "native_dropout" not in noted


def test_what_cannot_be_predicted_is_refused() -> None:
    """Real tensors, another device, a kernel without a card, and a kernel that does not exist."""
    x = torch.randn(3)
    with pytest.raises(GraphError, match="expected fake tensors"):
        profile_step(torch.relu, x, device="cuda")
    with pytest.raises(GraphError, match="expected cpu or cuda"):
        profile_step(torch.relu, x, device="tpu")
    with pytest.raises(GraphError, match="expected device='cuda'"):
        profile_step(torch.relu, x, attention="flash")
    with FakeTensorMode(), pytest.raises(GraphError, match="expected one of flash"):
        profile_step(torch.relu, torch.randn(3), device="cuda", attention="fast")


@pytest.mark.cuda
def test_predictions_are_near_what_a_card_allocates() -> None:
    """Within the script's tolerance of `torch.cuda.max_memory_allocated`, step by step."""
    script = ROOT / "scripts" / "compare_with_card.py"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
