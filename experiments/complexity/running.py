"""A study from its config to its files."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from autodiff.errors import TapemeasureError
from experiments.cli.exit import WRONG_INPUT, outcome
from experiments.cli.traces import leave_no_trace
from experiments.complexity.config import StudyConfig, study_config
from experiments.complexity.formulas import Complexity
from experiments.complexity.journal import JOURNAL, ShapeJournal
from experiments.complexity.measuring import Bench, Row
from experiments.complexity.report import say, write_report
from experiments.complexity.study import complexity_of, needed_bytes
from experiments.errors import one_line

LARGEST_REAL_BYTES = 2**28
"""Where the smallest shape takes more, all are predicted on fake tensors, which is then faster."""


def run_task(cfg: DictConfig) -> None:
    """Find the complexity of the module of a config and write its report.

    A TapemeasureError becomes one line and an exit code, so that other jobs of a multirun go on.
    """
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    directory = Path(HydraConfig.get().runtime.output_dir)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        study = study_config(plain)
        torch.set_num_threads(study.at(study.full).threads)
        found, journal = studied(study, directory)
    except TapemeasureError as error:
        outcome.exit_codes.append(WRONG_INPUT)
        print(f"error: {one_line(error)}", file=sys.stderr)
        leave_no_trace(directory)
        return
    say(found)
    print(f"formulas: {write_report(found, journal.rows, directory)}")


def studied(study: StudyConfig, directory: Path) -> tuple[Complexity, ShapeJournal]:
    """Return the formulas of a study, and its journal in `directory`, which it resumes."""
    real, fake = Bench(study, fake=False), Bench(study, fake=True)
    benches: list[Bench] = []

    def measure(shape: tuple[int, ...]) -> Row:
        if not benches:  # the first shape is predicted, to see whether such shapes can be run
            row = fake.row(shape)
            benches.append(real if needed_bytes(row) <= LARGEST_REAL_BYTES else fake)
        return benches[0].row(shape)

    journal = ShapeJournal(directory / JOURNAL, study, measure)
    if journal.rows:
        logging.getLogger("tapemeasure").info("resumed with %d rows", len(journal.rows))
    return complexity_of(study, journal.row, lambda shape: journal.row(shape, fake.row)), journal
