"""Compare predictions of a CUDA card's memory with `torch.cuda.max_memory_allocated`.

    python scripts/compare_with_card.py

It needs a card, and ends with 1 where a prediction is off by more than TOLERANCE. No result of it
is known yet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from profiler import profile_step

TOLERANCE = 0.02

Made = tuple[torch.nn.Module, torch.Tensor, torch.dtype | None]


def _perceptron(device: str) -> Made:
    with torch.device(device):
        model = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(8)))
        return model, torch.randn(4096, 1024), None


def _encoder(device: str, dtype: torch.dtype | None, dropout: float) -> Made:
    with torch.device(device):
        layers = [
            torch.nn.TransformerEncoderLayer(512, 8, 2048, dropout, batch_first=True)
            for _ in range(4)
        ]
        return torch.nn.Sequential(*layers), torch.randn(16, 512, 512), dtype


CASES: dict[str, Callable[[str], Made]] = {
    "perceptron": _perceptron,
    "encoder, float32": lambda device: _encoder(device, None, 0.1),
    "encoder, autocast": lambda device: _encoder(device, torch.bfloat16, 0.1),
    "encoder without dropout": lambda device: _encoder(device, torch.bfloat16, 0.0),
}


def training_step(made: Made, device: str) -> Callable[[torch.Tensor], Any]:
    """Return a step that trains a model with AdamW as a card would: with `foreach`."""
    model, _, dtype = made
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)

    def step(batch: torch.Tensor) -> None:
        with torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
            loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def predicted_bytes(make: Callable[[str], Made]) -> int:
    """Return the most bytes of a later step, predicted without a card."""
    with FakeTensorMode():
        made = make("cpu")
        step = training_step(made, "cpu")
        for _ in range(2):
            profile = profile_step(step, made[1], model=made[0], device="cuda")
    return sum(profile.given_bytes.values()) + profile.peak_bytes


def measured_bytes(make: Callable[[str], Made]) -> int:
    """Return the most bytes that were allocated on the card in a later step."""
    before = torch.cuda.memory_allocated()
    made = make("cuda")
    step = training_step(made, "cuda")
    step(made[1])
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step(made[1])
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def main() -> int:
    """Print the table; return 1 where a prediction is too far off, 2 without a card."""
    if not torch.cuda.is_available():
        print("no CUDA card here; expected one to compare with", file=sys.stderr)
        return 2
    worst = 0.0
    for name, make in CASES.items():
        torch._C._cuda_clearCublasWorkspaces()
        predicted, measured = predicted_bytes(make), measured_bytes(make)
        off = predicted / measured - 1
        worst = max(worst, abs(off))
        print(f"{name:<24} predicted {predicted:>15,}  measured {measured:>15,}  {off:+.2%}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
