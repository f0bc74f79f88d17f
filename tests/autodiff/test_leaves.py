"""What a leaf may hold, and the bytes of leaves that share memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from autodiff import GraphError, Leaf, linearize, networks, squared_error
from profiler import predict, profile

DATA = torch.randn(100, 11)


def two_slices() -> Any:
    """A loss on the two parts of one table of 4,400 bytes, times a weight of 40."""
    x, y = Leaf(DATA[:, :10], "x", "input"), Leaf(DATA[:, 10:], "y", "input")
    return squared_error(x @ Leaf(torch.randn(10, 1), "w", "parameter"), y)


def halves(first: str, second: str) -> Any:
    """The product of the two halves of a vector of 40 bytes."""
    flat = torch.randn(10)
    return (Leaf(flat[:5], "a", first) * Leaf(flat[5:], "b", second)).sum()


def tied() -> Any:
    """A weight that is used as two leaves."""
    weight = torch.randn(3, 3)
    return (Leaf(weight, "a", "parameter") @ Leaf(weight.t(), "b", "parameter")).sum()


@pytest.mark.parametrize(
    ("make", "parameter_bytes", "input_bytes"),
    [
        (two_slices, 40, 4400),
        (lambda: Leaf(DATA[:, :10], "x", "input").sum(), 0, 4400),
        (lambda: halves("parameter", "parameter"), 40, 0),
        (lambda: halves("input", "input"), 0, 40),
        (lambda: halves("input", "parameter"), 40, 0),
        (tied, 36, 0),
        (lambda: Leaf(torch.ones(()).expand(5, 5), "x", "input").sum(), 0, 4),
    ],
)
def test_leaves_that_share_a_storage_take_it_once(
    make: Callable[[], Any], parameter_bytes: int, input_bytes: int
) -> None:
    """A storage counts whole and once, for parameters where one of its leaves is a parameter."""
    for execute in (True, False):
        found = profile(make(), execute=execute)
        assert (found.parameter_bytes, found.input_bytes) == (parameter_bytes, input_bytes)
    folded = predict(make())
    assert (folded.parameter_bytes, folded.input_bytes) == (parameter_bytes, input_bytes)


def test_given_bytes_are_those_of_the_roles() -> None:
    """A graph's profile has the bytes of each role that exists before the step."""
    network = networks.chain(3, 5, 7, loss="squared_error")
    for execute in (True, False):
        found = profile(network.loss, network.weights, execute=execute)
        assert found.given_bytes == {"parameter": 3 * 25 * 4, "input": 2 * 35 * 4}
        assert found.parameter_bytes == 300
        assert found.input_bytes == 280


def read_only() -> np.ndarray:
    array = np.arange(6.0).reshape(2, 3)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3)[::-1],
        np.arange(6.0).reshape(2, 3)[:, ::-1],
        np.arange(6.0).reshape(2, 3).T[::-1],
        read_only(),
        np.arange(0.0)[::-1],
    ],
    ids=["rows", "columns", "transposed", "read-only", "empty"],
)
def test_arrays_that_pytorch_cannot_share_are_copied(array: np.ndarray) -> None:
    """A reversed or read-only array is held as a copy; the array itself stays as it is."""
    before = array.copy()
    leaf = Leaf(array, "x")
    assert torch.equal(leaf.value, torch.from_numpy(before))
    assert float(profile(leaf.sum()).loss) == float(before.sum())
    leaf.value += 1
    assert np.array_equal(array, before)


def test_other_arrays_are_shared() -> None:
    """Any other array shares its memory with the leaf."""
    for array in (np.zeros((2, 3)), np.zeros((2, 3)).T, np.zeros((4, 6))[::2, 1:3]):
        Leaf(array).value.add_(1)
        assert array.sum() == array.size


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "text": (lambda: np.array(["a", "b"]), "x holds a numpy array of dtype <U1"),
    "dates": (lambda: np.array(["2020-01-01"], "M8[D]"), "of dtype datetime64"),
    "long double": (lambda: np.ones(2, np.longdouble), "of dtype"),
    "another byte order": (lambda: np.ones(2, ">f4"), "of dtype >f4"),
    "sparse": (lambda: torch.ones(2, 2).to_sparse(), "x holds a sparse_coo tensor"),
    "compressed": (lambda: torch.ones(2, 2).to_mkldnn(), "x holds a _mkldnn tensor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_op_takes_is_refused(case: str) -> None:
    """An array or a tensor that cannot be computed with is refused where it is given."""
    make, message = REFUSED[case]
    with pytest.raises(GraphError, match=message) as error:
        Leaf(make(), "x")
    assert "expected" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["words", b"bytes", None, [1.0], {}, True, 1j])
def test_what_is_no_value_is_refused_when_measured(value: Any) -> None:
    """A value that is neither a number nor a tensor can be held, and not be measured."""
    with pytest.raises(GraphError, match=r"leaf x (holds a|has neither a value)") as error:
        linearize([Leaf(value, "x").sum()])
    assert "\n" not in str(error.value)
