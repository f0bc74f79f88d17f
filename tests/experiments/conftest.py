"""Sweeps that several tests read. They are made once in each process, and no test changes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.analysis.growth import formulas_of
from experiments.results.tables import Results
from experiments.sweeping import job
from tests.support.sweeps import PLANS, SMALL, TINY, results_of, with_scale


@pytest.fixture(scope="session")
def measured() -> Results:
    """A small sweep with every formula decided, nowhere written yet."""
    grid = {"n": [1, 2, 3, 4, 6], "d": [2, 3, 6, 8], "b": [2, 3, 4, 6, 16]}
    return with_scale(results_of({**SMALL, "grid": grid}, Path("nowhere")))


@pytest.fixture(scope="session")
def planned() -> Results:
    """A small sweep of planners and of PyTorch, run."""
    made = results_of(PLANS, Path("nowhere"))
    return replace(made, complexity=formulas_of(made.results))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny finished sweep."""
    directory = tmp_path_factory.mktemp("sweep") / "run"
    assert job.run_job(TINY, directory)[0] == 0
    return directory


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports be written without figures, which take most of their time."""
    monkeypatch.setattr("experiments.reporting.publishing.draw_figures", lambda results: {})
