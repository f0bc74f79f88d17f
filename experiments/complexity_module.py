r"""Find how a PyTorch module's operations and bytes grow, as exact formulas.

    tapemeasure complexity model=gpt2 'vary={n_layer: L, n_embd: d, batch: b, sequence: s}'
    tapemeasure complexity model=mlp 'vary={layers: L, width: {letter: d, unit: 8}, batch: b}'

`vary` gives a letter to each variable: batch, sequence (the first dimension of the inputs of whole
numbers), a dimension of an input such as pixel_values.1, or an argument of the model. The shapes to
measure are chosen, small ones that take milliseconds each; a variable may have a `unit`, the step
between its values, or `values` of your own. The rows lie in hydra.run.dir, and a run in the same
directory resumes.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from experiments import complexity
from experiments.cli.command import print_help, run_command
from experiments.cli.helping import CONFIGS
from experiments.cli.interrupts import ending_quietly, listen
from experiments.cli.supervision import supervised


@hydra.main(config_path=str(CONFIGS), config_name="complexity", version_base="1.3")
def task(cfg: DictConfig) -> None:
    """Find the complexity of one module."""
    print("loading PyTorch and the module ...", flush=True)
    with ending_quietly():  # loads PyTorch, which an interrupt would leave half made
        run_task = complexity.run_task
    run_task(cfg)


def main() -> None:
    """Run the command line; exit with 2 and one line where a key or value is wrong."""
    listen()
    print_help("complexity", "complexity_module", __doc__)
    run_command(task, "complexity", "interrupted; completed rows are saved")


if __name__ == "__main__":
    supervised(main)
