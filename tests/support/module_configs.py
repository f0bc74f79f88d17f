"""The typed config of a command line of `experiments.profile_module`."""

from __future__ import annotations

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.modules.config import ModuleConfig, module_config
from tests.support.paths import ROOT


def config_of(*arguments: str) -> ModuleConfig:
    """Return the typed config of a command line."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        plain: Any = OmegaConf.to_container(
            compose("profile_module", list(arguments)), resolve=True
        )
    return module_config(plain)
