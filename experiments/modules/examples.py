"""Modules to try the command on that need nothing but PyTorch."""

from __future__ import annotations

from torch import nn


def mlp(layers: int, width: int, classes: int) -> nn.Sequential:
    """Return linear layers of one width, each with a GELU, and a linear head."""
    hidden: list[nn.Module] = []
    for _ in range(layers):
        hidden += [nn.Linear(width, width), nn.GELU()]
    return nn.Sequential(*hidden, nn.Linear(width, classes))
