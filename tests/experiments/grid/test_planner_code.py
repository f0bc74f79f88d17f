"""The key of a row whose planner is the user's own depends on the planner's file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.results.point import Point
from experiments.results.rows import RowError, row_of, row_of_fields

SOURCE = """
from autodiff import StoreAll

planner = StoreAll()
"""


def the_point(planner: str) -> Point:
    """Return the only point of a sweep under a planner."""
    config = {
        "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
        "grid": {"n": 2, "d": 3, "b": 4},
        "modes": "checkpointed",
        "planners": planner,
    }
    (point,) = points_of(sweep_config(config))
    return point


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the file of a planner that can be imported as `planner_of_a_user`."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "planner_of_a_user.py"
    path.write_text(SOURCE)
    yield path
    sys.modules.pop("planner_of_a_user", None)


@pytest.mark.slow
def test_an_edited_planner_has_another_key(source: Path) -> None:
    """The same config has the same key until the planner's file changes."""
    first, again = (the_point("planner_of_a_user:planner") for _ in range(2))
    assert first.key == again.key
    source.write_text(SOURCE + "# edited\n")
    assert the_point("planner_of_a_user:planner").key != first.key


@pytest.mark.slow
def test_a_row_keeps_the_code_of_its_planner(source: Path) -> None:
    """A row is read back with its key, and refused with another code than its key is of."""
    row = row_of(
        the_point("planner_of_a_user:planner"), status="failed", reason="a test", load_average=0.0
    )
    assert row.planner_code
    assert row_of_fields(vars(row)) == row
    with pytest.raises(RowError, match="key"):
        row_of_fields({**vars(row), "planner_code": ""})


def test_built_in_planners_keep_their_keys() -> None:
    """Without a planner of the user's own a key is what it was before there was such a hash."""
    point = the_point("store_all")
    assert point.planner_code == ""
    assert point.key == "970d6af8d464364b"
