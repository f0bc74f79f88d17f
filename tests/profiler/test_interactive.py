"""The interactive timeline holds what the ledger says, loads nothing, and runs no text."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.networks import chain
from profiler.graphs import profile
from profiler.interactive import Panel, timeline_html
from profiler.measurement import Profile
from profiler.pytorch.steps import profile_step


def content_of(html: str) -> list[dict[str, Any]]:
    """What the script is given."""
    found = re.search(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    assert found is not None
    return list(json.loads(found[1]))


def of_a_graph() -> Profile:
    """A checkpointed step of the engine, in which values are computed twice."""
    network = chain(4, 6, 5)
    return profile(network.loss, wrt=network.weights, planner=RecomputeAll())


def of_a_module() -> Profile:
    """A step of a module, with an update and state from before it."""
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        model(torch.ones(4, 6)).sum().backward()
        optimizer.step()

    return profile_step(step, model=model)


def of_a_card() -> Profile:
    """The same step as a card would run it, whose libraries keep something for themselves."""
    with FakeTensorMode():
        model, x = nn.Linear(6, 2), torch.ones(4, 6)
        return profile_step(lambda: model(x).sum().backward(), model=model, device="cuda")


@pytest.mark.parametrize("make", [of_a_graph, of_a_module, of_a_card])
def test_every_moment_is_the_ledgers(make: Any) -> None:
    """Live bytes of each step and the buffers alive then are those of the ledger."""
    measured = make()
    ledger = measured.ledger
    (panel,) = content_of(measured.show().html)
    given = sum(measured.given_bytes.values())
    totals = [sum(column) for column in zip(*panel["live"].values(), strict=True)]
    assert totals == [live + given for live in ledger.live.tolist()]
    assert panel["given"] == given
    assert [panel["phases"][phase] for phase in panel["phase"]] == list(ledger.phases)
    for step, live in enumerate(ledger.live.tolist()):
        alive = [
            size
            for _, size, _, born, dies in panel["buffers"]
            if born <= step and (dies < 0 or dies >= step)
        ]
        assert sum(alive) == live
    at = ledger.peak_step
    shown = sorted(
        (name, size, role)
        for name, size, role, born, dies in panel["buffers"]
        if born <= at and (dies < 0 or dies >= at) and size
    )
    frame = measured.alive_at_peak()
    frame = frame[frame["bytes"] > 0]
    expected = zip(frame["node"], frame["bytes"], frame["role"], strict=True)
    assert shown == sorted((name, int(size), role) for name, size, role in expected)


def test_a_value_computed_again_is_another_buffer() -> None:
    """With recomputation the same name lives several times, at different times."""
    (panel,) = content_of(of_a_graph().show().html)
    lives: dict[str, list[tuple[int, int]]] = {}
    for name, _, _, born, dies in panel["buffers"]:
        lives.setdefault(name, []).append((born, dies))
    again = [sorted(times) for times in lives.values() if len(times) > 1]
    assert again
    pairs = [pair for times in again for pair in pairwise(times)]
    assert all(first[1] < second[0] for first, second in pairs)


def test_names_end_no_script() -> None:
    """A name that looks like markup stays text: nothing in the data can end its element."""
    events = of_a_graph().timeline()
    hostile = "</script><script>alert(1)</script>"
    html = timeline_html([Panel(hostile, events.assign(node=hostile))])
    assert hostile not in html
    (panel,) = content_of(html)
    assert panel["label"] == hostile
    assert set(panel["steps"]) == {hostile}


def test_it_loads_nothing(tmp_path: Path) -> None:
    """A saved page has no address of anything, and a notebook shows the same fragment."""
    shown = of_a_module().show("a step of mine")
    page = shown.save(tmp_path / "step.html").read_text()
    assert shown.html in page
    assert shown._repr_html_() == shown.html
    without_namespace = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//cdn|\bsrc=|\bhref=|@import|fetch\(", without_namespace)
