r"""Predict what a step of a PyTorch module takes, where, and the largest batch that fits.

    tapemeasure profile model=gpt2 memory=24GiB
    tapemeasure profile model.path=torch.nn.TransformerEncoderLayer \
        'model.arguments={d_model: 64, nhead: 4}' input.shape=[16,64]

The module is made from its import path and keyword arguments (a model of `transformers` through its
config class), the batch from shapes. The step is predicted on fake tensors: nothing is computed and
no memory is taken, so a step that does not fit can be measured too. `execute=true` also runs it on
real tensors. The report goes to `hydra.run.dir`. A key of `arguments` that a preset does not name
is added by +model.arguments.key=value.
"""

from __future__ import annotations

import gc

import hydra
from omegaconf import DictConfig

from experiments import modules
from experiments.cli.command import print_help, run_command
from experiments.cli.helping import CONFIGS
from experiments.cli.interrupts import ending_quietly, listen
from experiments.cli.loading import without_collecting
from experiments.cli.supervision import supervised
from experiments.progress import working


@hydra.main(config_path=str(CONFIGS), config_name="profile_module", version_base="1.3")
def task(cfg: DictConfig) -> None:
    """Profile one module."""
    print("loading PyTorch and the module ...", flush=True)
    with (
        ending_quietly(),
        working("loading PyTorch"),
        without_collecting(),
    ):  # not to be left half made
        run_task = modules.run_task
    gc.freeze()  # what is loaded by now is never garbage, and is not to be visited
    run_task(cfg)


def main() -> None:
    """Run the command line; exit with 2 and one line where a key or value is wrong."""
    listen()
    print_help("profile_module", "profile_module", __doc__)
    run_command(task, "profile_module", "interrupted")


if __name__ == "__main__":
    supervised(main)
