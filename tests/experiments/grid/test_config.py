"""The config of the sweep: right ones become typed, wrong ones give one line that names the key."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.errors import ConfigError
from experiments.grid.config import sweep_config
from experiments.grid.points import points_of

BASE: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": [1, 2], "d": [3], "b": 4},
    "modes": ["no_grad", "full"],
}


def changed(**changes: Any) -> dict[str, Any]:
    """The base config with some keys changed."""
    return {**BASE, **changes}


def test_a_bare_value_is_a_list_of_one() -> None:
    """A number in the place of a list, and a mode, activation or planner in the place of a list,
    mean a list of one.
    """
    config = sweep_config(
        changed(modes="full", planners="store_all", engine="autodiff", micro_batches=2)
    )
    study = config.studies[0]
    assert (study.grid.b, study.modes, study.planners, study.engines, study.micro_batches) == (
        (4,),
        ("full",),
        ("store_all",),
        ("autodiff",),
        (2,),
    )


def test_values_that_occur_twice_count_once() -> None:
    """A grid value or a mode that is given twice makes no point twice."""
    config = sweep_config(
        changed(grid={"n": [2, 2, 1], "d": [3, 3], "b": 4}, modes=["full", "full"])
    )
    points = points_of(config)
    assert [(point.n, point.d, point.b, point.mode) for point in points] == [
        (2, 3, 4, "full"),
        (1, 3, 4, "full"),
    ]
    assert len({point.key for point in points}) == len(points)


def test_studies_say_only_what_differs() -> None:
    """A study takes the main grid's keys but for those that it gives, and null takes a
    study away.
    """
    config = sweep_config(
        changed(
            studies={"gelu": {"network": {"activation": "gelu"}, "grid": {"n": 5}}, "gone": None}
        )
    )
    main, gelu = config.studies
    assert (gelu.part, gelu.activations, gelu.losses, gelu.grid.n, gelu.grid.d) == (
        "gelu",
        ("gelu",),
        ("sum",),
        (5,),
        (3,),
    )
    assert main.activations == ("tanh",)


@pytest.mark.parametrize("off", [{"execute": False}, {"measure_process": False}, {"scale": None}])
def test_the_larger_shapes_are_off_without_what_they_need(off: dict[str, Any]) -> None:
    """There is no scale part without execution, without process memory, or when it is null."""
    scale = {"n": 2, "d": 8, "b": 8, "repeats": 2}
    assert [study.part for study in sweep_config(changed(scale=scale)).studies] == [
        "exact",
        "scale",
    ]
    assert [study.part for study in sweep_config(changed(**{"scale": scale, **off})).studies] == [
        "exact"
    ]


def test_only_has_a_point_for_each_layer() -> None:
    """Mode `only` asks for W_1 to W_n one by one; the other modes have one point a shape."""
    points = points_of(
        sweep_config(changed(grid={"n": 3, "d": 2, "b": 2}, modes=["only", "w1_only"]))
    )
    assert [(point.mode, point.wrt) for point in points] == [
        ("only", "W_1"),
        ("only", "W_2"),
        ("only", "W_3"),
        ("w1_only", "W_1"),
    ]


def test_micro_batches_divide_the_batch_and_need_full() -> None:
    """Slices of unequal width and modes without accumulation make no points."""
    points = points_of(
        sweep_config(changed(grid={"n": 1, "d": 2, "b": 6}, micro_batches=[1, 2, 4]))
    )
    assert [(point.mode, point.micro_batches) for point in points] == [
        ("no_grad", 1),
        ("full", 1),
        ("full", 2),
    ]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"grid": {"n": 0, "d": 3, "b": 4}}, "grid.n=0"),
    ({"grid": {"n": [1, -2], "d": 3, "b": 4}}, "grid.n=-2"),
    ({"grid": {"n": 1, "d": 2.5, "b": 4}}, "grid.d=2.5"),
    ({"grid": {"n": 1, "d": 2, "b": "many"}}, "grid.b='many'"),
    ({"grid": {"n": True, "d": 2, "b": 1}}, "grid.n=True"),
    ({"grid": {"n": [], "d": 2, "b": 1}}, "grid.n=[]"),
    ({"grid": {"n": 1, "d": 2}}, "grid.b=None"),
    ({"grid": {"n": 1, "d": 2, "b": 1, "k": 3}}, "unknown key grid.k"),
    ({"grid": 3}, "grid=3"),
    ({"modes": ["fulll"]}, "did you mean full?"),
    ({"modes": None}, "modes=None"),
    ({"network": {"activation": "tan"}}, "network.activation='tan'"),
    ({"network": {"loss": "mse"}}, "network.loss='mse'"),
    ({"network": {"name": "transformer"}}, "network.name='transformer'"),
    ({"network": {"activations": "tanh"}}, "unknown key network.activations"),
    ({"engine": "jax"}, "engine='jax'"),
    ({"planners": "revolt"}, "revolt"),
    ({"planners": 3}, "planners=3"),
    ({"dtype": "float12"}, "dtype='float12'"),
    ({"audit": "all"}, "audit='all'"),
    ({"threads": 0}, "threads=0"),
    ({"repeats": 1.5}, "repeats=1.5"),
    ({"execute": "yes"}, "execute='yes'"),
    ({"timeout_s": -1}, "timeout_s=-1"),
    ({"device": ""}, "device=''"),
    ({"objective": "beauty"}, "objective='beauty'"),
    ({"scale": {"n": 1, "d": 0, "b": 1}}, "scale.grid.d=0"),
    ({"scale": {"size": 1}}, "unknown key scale.size"),
    ({"studies": {"a": {"colour": 1}}}, "unknown key studies: colour"),
    ({"studies": {"a": {"grid": {"n": "x"}}}}, "studies.a.grid.n='x'"),
    ({"gird": {}}, "did you mean grid?"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_value_is_told_in_one_line(changes: dict[str, Any], words: str) -> None:
    """The message names the key and the value given, says what was expected, and is one line."""
    with pytest.raises(ConfigError) as caught:
        sweep_config(changed(**changes))
    message = str(caught.value)
    assert words in message
    assert "expected" in message
    assert "\n" not in message


def test_a_sweep_may_consist_of_studies_alone() -> None:
    """Without a grid of its own a sweep is its studies; without these either, the missing grid is
    named.
    """
    given = {
        "grid": {"n": None, "d": None, "b": None},
        "studies": {"one": {"grid": {"n": 2, "d": 3, "b": 4}}},
        "modes": ["full"],
    }
    assert [study.part for study in sweep_config(given).studies] == ["one"]
    assert [
        study.part for study in sweep_config({**given, "grid": {"n": 1, "d": 1, "b": 1}}).studies
    ] == ["exact", "one"]
    with pytest.raises(ConfigError, match="grid"):
        sweep_config({**given, "studies": {"one": None}})
