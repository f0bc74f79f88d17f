"""The typed config of a command line of `experiments.profile_module`."""

from __future__ import annotations

from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional

from experiments.modules.config import ModuleConfig, module_config
from tests.support.paths import ROOT


def config_of(*arguments: str) -> ModuleConfig:
    """Return the typed config of a command line."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        plain: Any = OmegaConf.to_container(
            compose("profile_module", list(arguments)), resolve=True
        )
    return module_config(plain)


class Attention(nn.Module):
    """One head of scaled_dot_product_attention."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer, self.dropout = nn.Linear(8, 24), dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part[:, None] for part in self.layer(x).chunk(3, -1))
        return functional.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)


def attention(dropout: float, *more: str) -> ModuleConfig:
    """Return the config of the attention head."""
    return config_of(
        f"model.path={__name__}.Attention",
        f"model.arguments={{dropout: {dropout}}}",
        "input.shape=[5,8]",
        "plans=false",
        *more,
    )
