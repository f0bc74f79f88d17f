"""`profile_step` on real models with random weights, compared with PyTorch's FlopCounterMode and
MemTracker.

MemTracker is private to PyTorch and used only here. On the CPU FlopCounterMode counts fused
attention as nothing, so it is given formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from profiler import profile_step
from profiler.pytorch.kinds import kind_of

aten = torch.ops.aten

ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu
ATTENTION_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward
FUSED_ATTENTION = {
    ATTENTION: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    ATTENTION_BACKWARD: lambda g, q, k, v, *_, **__: sdpa_backward_flop_count(g, q, k, v),
}

Batch = dict[str, torch.Tensor]


def gpt2() -> tuple[nn.Module, Batch]:
    """A two-block GPT-2, its embedding tied to its head, and a batch of tokens."""
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = transformers.GPT2Config(
        vocab_size=101,
        n_positions=32,
        n_embd=32,
        n_layer=2,
        n_head=4,
        loss_type="ForCausalLM",
        **ends,
    )
    tokens = torch.arange(32).reshape(2, 16)
    return transformers.GPT2LMHeadModel(config), {"input_ids": tokens, "labels": tokens}


def bert() -> tuple[nn.Module, Batch]:
    """A two-layer BERT that classifies."""
    config = transformers.BertConfig(
        vocab_size=101,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    return transformers.BertForSequenceClassification(config), {
        "input_ids": torch.arange(32).reshape(2, 16),
        "labels": torch.tensor([0, 1]),
    }


def vit() -> tuple[nn.Module, Batch]:
    """A two-layer vision transformer."""
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        num_labels=5,
    )
    return transformers.ViTForImageClassification(config), {
        "pixel_values": torch.ones(2, 3, 32, 32),
        "labels": torch.tensor([1, 3]),
    }


def resnet() -> tuple[nn.Module, Batch]:
    """A residual network of two stages."""
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], num_labels=5
    )
    return transformers.ResNetForImageClassification(config), {
        "pixel_values": torch.ones(2, 3, 32, 32),
        "labels": torch.tensor([1, 3]),
    }


MODELS = (gpt2, bert, vit, resnet)


@cache
def counted(make: Callable[[], tuple[nn.Module, Batch]]) -> tuple[Any, nn.Module, Batch]:
    """A model's profile for a training step without an optimiser."""
    model, batch = make()
    model.train()
    return profile_step(lambda: model(**batch).loss.backward(), model=model), model, batch


def peaks(step: Callable[[], Any], model: nn.Module, *inputs: torch.Tensor) -> tuple[int, int]:
    """The peak of one run by us, and by MemTracker around it, without what that tracks from the
    start.

    It must be one run: MemTracker's hooks on modules hold gradients that a plain step lets go.
    """
    tracker = MemTracker()
    tracker.track_external(model, *inputs)
    with tracker:
        found = profile_step(step, model=model)
    (peak,) = tracker.get_tracker_snapshot("peak").values()
    before = {
        one.untyped_storage()._cdata: one.untyped_storage().nbytes()
        for one in (*model.parameters(), *model.buffers(), *inputs)
    }
    return found.peak_bytes, int(peak["Total"]) - sum(before.values())


@pytest.mark.parametrize("make", MODELS)
def test_matmul_flops_are_flop_counter_modes(make: Callable[[], tuple[nn.Module, Batch]]) -> None:
    """Matmul flops of forward and backward equal FlopCounterMode's, and no op of the step is left
    uncounted.
    """
    found, model, batch = counted(make)
    with FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION) as counter:
        model(**batch).loss.backward()
    assert found.matmul_flops == counter.get_total_flops() > 0
    assert found.uncounted == {}


def test_fused_attention_is_counted() -> None:
    """Without a formula for fused attention FlopCounterMode finds less: the agreement rests on our
    counting it.
    """
    found, model, batch = counted(vit)
    with FlopCounterMode(display=False) as counter:
        model(**batch).loss.backward()
    assert found.matmul_flops > counter.get_total_flops()


@pytest.mark.filterwarnings("ignore:Module is None:UserWarning")
@pytest.mark.parametrize("make", MODELS)
def test_peaks_are_mem_trackers(make: Callable[[], tuple[nn.Module, Batch]]) -> None:
    """The peak equals MemTracker's to the byte."""
    _, model, batch = counted(make)
    model.zero_grad()
    ours, theirs = peaks(lambda: model(**batch).loss.backward(), model, *batch.values())
    assert ours == theirs > 0


def adam_and_checkpoints(model: nn.Sequential, batch: torch.Tensor) -> Callable[[], None]:
    """A step that checkpoints every block and makes Adam's state."""
    optimizer = torch.optim.Adam(model.parameters(), foreach=False)

    def run() -> None:
        h = batch
        for block in model:
            h = checkpoint(block, h, use_reentrant=False)
        h.sum().backward()
        optimizer.step()

    return run


@pytest.mark.filterwarnings("ignore:Module is None:UserWarning")
def test_peaks_of_checkpointing_and_of_an_optimizer_are_mem_trackers() -> None:
    """Where blocks are checkpointed, and where Adam makes its state, both see the same peak."""
    model = nn.Sequential(*[nn.Sequential(nn.Linear(16, 16), nn.GELU()) for _ in range(4)])
    batch = torch.randn(64, 16)
    ours, theirs = peaks(adam_and_checkpoints(model, batch), model, batch)
    assert ours == theirs > 0


@pytest.mark.filterwarnings("ignore:Module is None:UserWarning")
def test_a_buffer_that_is_missed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that misses the births of single results disagrees with MemTracker."""
    model, batch = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.randn(2, 4)
    monkeypatch.setattr("profiler.pytorch.recorder.IN_PLACE", kind_of(aten.tanh.default))
    ours, theirs = peaks(lambda: model(batch).sum(), model, batch)
    assert ours < theirs


def test_modules_of_a_real_model() -> None:
    """Of GPT-2 the attention of each block has its own row; blocks cost alike; the tied embedding
    is one parameter.
    """
    found, model, _ = counted(gpt2)
    rows = found.by_module().set_index("module")
    assert rows["class"]["transformer.h.0.attn"] == "GPT2Attention"
    assert rows["matmul_flops"]["transformer.h.0"] == rows["matmul_flops"]["transformer.h.1"]
    assert (
        rows["parameter_bytes"][""]
        == found.parameter_bytes
        == 4 * sum(p.numel() for p in model.parameters())
    )
    assert (
        rows["ops_backward"]["transformer.h.0.attn"] > rows["ops_forward"]["transformer.h.0.attn"]
    )


def test_a_real_model_on_fake_tensors() -> None:
    """BERT without dropout has the same operations and peak on fake tensors as on real ones."""

    def step(model: nn.Module, batch: Batch) -> Any:
        model.eval()
        return profile_step(lambda: model(**batch).loss.backward(), model=model)

    real = step(*bert())
    with FakeTensorMode():
        fake = step(*bert())
    assert fake.ops_by_phase == real.ops_by_phase
    assert (fake.peak_bytes, fake.peak_by_role) == (real.peak_bytes, real.peak_by_role)
