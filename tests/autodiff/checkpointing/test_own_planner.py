"""The planner from the checkpointing page: fifteen lines, legal, and usable in a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autodiff import check_schedule, parse_planner
from experiments.results.tables import read_results
from experiments.sweeping import job
from profiler import profile_schedule
from tests.support.chains import chain_program
from tests.support.docs import blocks_of
from tests.support.paths import ROOT

CONFIG: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": [1, 5], "d": [3], "b": [16]},
    "modes": ["full", "checkpointed"],
    "planners": ["store_all", "revolve(snapshots=2)", "hold_on_the_page:Hold(at=[2, 4])"],
    "audit": "storages",
    "timeline": {"n": 2, "d": 2, "b": 2},
}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the planner's code, which is also made importable."""
    page = (ROOT / "docs" / "checkpointing.md").read_text(encoding="utf-8")
    (block,) = [block.code for block in blocks_of(page) if "class Hold" in block.code]
    code = block[: block.index("step = profile")].strip()
    (tmp_path / "hold_on_the_page.py").write_text(code + "\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return code


def test_it_is_written_in_fifteen_lines(written: str) -> None:
    """What is not an import or blank is fifteen lines at most, and they are the planner."""
    lines = [
        line
        for line in written.splitlines()
        if line.strip() and not line.startswith(("import ", "from "))
    ]
    assert 8 <= len(lines) <= 15
    planner = parse_planner("hold_on_the_page:Hold(at=[3, 5])")
    for n in (1, 2, 4, 9):
        program = chain_program(n, 3, 40)
        check_schedule(program, schedule := planner(program))
        assert (schedule.claims.recompute > 0) == (n > 3)
    peaks = [
        profile_schedule(program, plan, execute=False).peak_bytes
        for plan in (schedule, parse_planner("store_all")(program))
    ]
    assert peaks[0] < peaks[1]


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_a_sweep_takes_it_by_its_import_path(tmp_path: Path) -> None:
    """Its rows are measured, audited and predicted, under its canonical string, without theory."""
    code, _ = job.run_job(CONFIG, tmp_path / "run")
    assert code == 0
    frame = read_results(tmp_path / "run").results
    mine = frame[frame["planner"] == "hold_on_the_page:Hold(at=[2, 4])"]
    assert len(mine) == 2
    assert (mine["status"] == "ok").all()
    assert (mine["peak_bytes"] == mine["predicted_peak_bytes"]).all()
    assert mine["theory_peak_bytes"].isna().all()
    assert mine["ops_recompute"].tolist()[-1] > 0
    assert mine[["snapshots", "segments"]].isna().all().all()
