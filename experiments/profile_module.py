"""`python -m experiments.profile_module`: what one step of a PyTorch module takes, where, and the largest batch that fits in a memory.

    python -m experiments.profile_module model=gpt2 memory=24GiB
    python -m experiments.profile_module model.path=torch.nn.TransformerEncoderLayer 'model.arguments={d_model: 64, nhead: 4}' input.shape=[16,64]

The module is made of its import path and keyword arguments (a model of `transformers` by way of its config class), the batch of shapes. The
step is predicted on fake tensors: nothing is computed, no memory taken, so what does not fit can be measured too. `execute=true` runs it
on real ones as well. The report lies in `hydra.run.dir`.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from experiments import modules
from experiments.cli.command import run_command
from experiments.cli.interrupts import ending_quietly, listen


@hydra.main(config_path="../configs", config_name="profile_module", version_base="1.3")
def task(cfg: DictConfig) -> None:
    """Profile one module."""
    with ending_quietly():  # loads PyTorch, which an interrupt would leave half made
        run_task = modules.run_task
    run_task(cfg)


def main() -> None:
    """Run the command line; exit with 2 and one line where a key or value is wrong."""
    listen()
    run_command(task, "interrupted")


if __name__ == "__main__":
    main()
