"""Experiments: sweeps, fits, figures, reports."""

import sys

from experiments.cli.interrupts import end_quietly

# While `python -m` looks for the module, "-m" stands in the place of its name. Its `main` listens again.
if sys.argv[:1] == ["-m"]:
    end_quietly()
