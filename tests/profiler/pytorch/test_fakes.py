"""Results of ops on fake tensors that are made again are those that PyTorch's rules make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from profiler import Profile, profile_step
from profiler.pytorch import fakes, kinds, recorder

F = nn.functional
Step = Callable[[], Any]


def trained(model: nn.Module, *shape: int) -> Step:
    """Return a step of a model with Adam, whose counts of steps are numbers within fake tensors."""
    optimizer, x = torch.optim.Adam(model.parameters()), torch.randn(*shape)

    def step() -> None:
        out = model(x)
        (out[0] if isinstance(out, tuple) else out).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def perceptron() -> Step:
    """Return a step with masks that are drawn, written over in place."""
    layers = [nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 8)]
    return trained(nn.Sequential(*layers), 4, 8)


def convolutions() -> Step:
    """Return a step whose results have other memory formats, and None among them."""
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)]
    return trained(nn.Sequential(*layers), 2, 3, 8, 8)


def attention() -> Step:
    """Return a step of a transformer's layer, with views of many kinds."""
    return trained(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, 5, 16)


def numbers() -> Step:
    """Return a step where equal numbers of other types give results of other types."""
    x = torch.ones(4, 4, dtype=torch.int32)
    return lambda: [x * 2, x * 2.0, x * True, x.double() * 2, torch.full((4,), 1), x[0], x[:, 0]]


def parts() -> Step:
    """Return a step whose results are parts of arguments, equal but for where they begin."""
    x, y = torch.randn(6, 4), torch.randn(6, 4)
    return lambda: [
        *x.split(2),
        *x.t().unbind(),
        y[2:4] + x[2:4].neg_(),
        torch.cat([x, y])[3:],
        x.expand(2, 6, 4),
    ]


STEPS = (perceptron, convolutions, attention, numbers, parts)


def numbers_of(profile: Profile) -> list[Any]:
    """Return all that a profile says of buffers and operations."""
    ledger = profile.ledger
    arrays = [array.tolist() for array in (ledger.nbytes, ledger.born, ledger.dies, ledger.role)]
    return [arrays, ledger.phases, profile.ops_by_phase, profile.given_bytes, profile.uncounted]


def profiles_of(make: Callable[[], Step], is_cached: bool = True) -> list[Profile]:
    """Return the profiles of three steps in a row on fake tensors, with PyTorch's cache or not."""
    with FakeTensorMode() as mode:
        mode.cache_enabled = is_cached
        step = make()
        return [profile_step(step) for _ in range(3)]


@pytest.mark.parametrize("make", STEPS)
def test_profiles_are_those_by_rule(
    make: Callable[[], Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are those that PyTorch's rules give, and the results have the same forms."""
    again = profiles_of(make)
    monkeypatch.setattr(recorder, "meeting", lambda: (kinds.meet, kinds.met_before))
    for one, other in zip(again, profiles_of(make, is_cached=False), strict=True):
        assert numbers_of(one) == numbers_of(other)
        for made, ruled in zip(one.gradients, other.gradients, strict=True):
            assert isinstance(made, FakeTensor)
            assert torch._C._dispatch_key_set(made) == torch._C._dispatch_key_set(ruled)
            assert _form(made) == _form(ruled)


def _form(one: torch.Tensor) -> tuple[Any, ...]:
    storage = one.untyped_storage()
    return one.shape, one.stride(), one.storage_offset(), one.dtype, one.device, storage.nbytes()


def test_one_gradient_of_two_biases() -> None:
    """An LSTM's biases have a gradient each, though PyTorch's rule gives one for both."""
    model, x = nn.LSTM(4, 6, 2), torch.randn(5, 3, 4)
    with FakeTensorMode():
        fake, y = nn.LSTM(4, 6, 2), torch.randn(5, 3, 4)
        found = [profile_step(lambda: fake(y)[0].sum().backward()) for _ in range(2)]
    real = [profile_step(lambda: model(x)[0].sum().backward()) for _ in range(2)]
    assert [len(one.ledger.phases) for one in found] == [len(one.ledger.phases) for one in real]


def test_a_short_key_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that leaves the types of numbers out gives results of the wrong type."""
    add = fakes._add

    def careless(key: list[Any], args: Any, mode: FakeTensorMode) -> bool:
        found: list[Any] = []
        is_key = add(found, args, mode)
        key += [one for one in found if not isinstance(one, type)]
        return is_key

    right = [one.dtype for one in profiles_of(numbers)[0].gradients]
    monkeypatch.setattr(fakes, "_add", careless)
    monkeypatch.setattr(fakes, "_met", {})
    monkeypatch.setattr(fakes, "met_before", fakes._met.get)
    assert [one.dtype for one in profiles_of(numbers)[0].gradients] != right


def test_rules_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third step of a trained model asks PyTorch's rules for nothing."""
    asked = []
    dispatch: Any = FakeTensorMode.dispatch

    def listing(mode: FakeTensorMode, func: Any, *args: Any) -> Any:
        asked.append(func)
        return dispatch(mode, func, *args)

    with FakeTensorMode():
        step = perceptron()
        profile_step(step)
        profile_step(step)
        monkeypatch.setattr(FakeTensorMode, "dispatch", listing)
        profile_step(step)
    assert [func for func in asked if func.namespace == "aten"] == []


def test_a_number_in_a_fake_tensor() -> None:
    """A tensor that carries its number keeps carrying it: an optimizer counts its steps so."""
    with FakeTensorMode():
        count = torch.tensor(1.0)

        def step() -> list[float]:
            count.add_(1)
            return [count.item(), count.mul_(2).item()]

        found: list[list[float]] = []
        profile_step(lambda: found.append(step()))
        profile_step(lambda: found.append(step()))
    assert found == [[2.0, 4.0], [5.0, 10.0]]


def test_another_mode_below_is_not_left_out() -> None:
    """What watches ops below the profiler goes on seeing all of them."""
    seen = []

    class Below(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with FakeTensorMode(), Below():
        x = torch.randn(4)
        for _ in range(3):
            profile_step(lambda: x + 1)
    assert seen.count(torch.ops.aten.add.Tensor) == 3
