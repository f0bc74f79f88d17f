"""A PyTorch op as the op of an instruction: it runs, has a cost, and says if it may run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from autodiff.aten.call import Call
from autodiff.aten.gaps import WithGaps
from autodiff.aten.table import cost_of, family_name
from autodiff.cost import FREE, Cost
from autodiff.spec import Spec

Tree = Any
"""Nested lists, tuples and dicts of arguments, in which a `_Read` stands for a tensor."""


@dataclass(frozen=True)
class _Read:
    """The place of a tensor among the arguments: which of the instruction's reads it is."""

    index: int


@dataclass(frozen=True, eq=False)
class AtenOp:
    """An op with its fixed arguments.

    `parameters` is its text, the same for calls that differ only in their tensors.

    `is_counted` says whether the table has a row for it; where it has none, `cost` is free and
    whoever counts must list it.

    `replay` runs a random op again: it takes the generator's state as one more read, the last one
    (`aten.replay`).
    """

    overload: Any
    args: Tree
    kwargs: Mapping[str, Tree]
    results: tuple[Any, ...]
    kept: tuple[int, ...] | None
    parameters: tuple[Any, ...]
    kernel: Callable[..., Any] = field(repr=False)
    into: None = None
    view_of: None = None
    replay: Callable[..., Any] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Return the name of the op's row in the table."""
        return family_name(self.overload._schema.name)

    @property
    def repeatable(self) -> bool:
        """Return whether a second run gives the same.

        It writes into no input, and draws nothing or can be replayed.
        """
        return self.replay is not None or not (self.is_random or self.writes)

    @property
    def writes(self) -> bool:
        """Return whether it writes into one of its inputs."""
        return self.overload._schema.is_mutable and not isinstance(self.overload, WithGaps)

    @property
    def generator(self) -> torch.Generator | None:
        """Return the generator among its arguments, if one is given."""
        leaves = tree_leaves((self.args, self.kwargs))
        return next((leaf for leaf in leaves if isinstance(leaf, torch.Generator)), None)

    @property
    def is_random(self) -> bool:
        """Return whether it draws numbers; attention draws none if its dropout probability is 0."""
        if torch.Tag.nondeterministic_seeded not in self.overload.tags:
            return False
        for place, argument in enumerate(self.overload._schema.arguments):
            if argument.name == "dropout_p":
                given = (
                    self.args[place]
                    if place < len(self.args)
                    else self.kwargs.get(argument.name, argument.default_value)
                )
                return bool(given != 0)
        return True

    @property
    def is_counted(self) -> bool:
        """Return whether the table has a row for it."""
        return self._is_view or cost_of(self.name, self._call(None)) is not None

    @property
    def compute(self) -> Callable[..., Any]:
        """Return the kernel, which is the only formula."""
        return self.kernel

    @property
    def _is_view(self) -> bool:
        returns = self.overload._schema.returns
        return bool(returns) and all(
            one.alias_info is not None and not one.alias_info.is_write for one in returns
        )

    def _call(self, specs: Sequence[Spec] | None) -> Call:
        def shaped(tree: Tree) -> Tree:
            if isinstance(tree, _Read):
                return torch.Size(
                    self._shapes[tree.index] if specs is None else specs[tree.index].shape
                )
            if isinstance(tree, list | tuple):
                return (
                    tuple(shaped(item) for item in tree)
                    if any(isinstance(item, _Read) for item in tree)
                    else tree
                )
            return tree

        kwargs = {name: shaped(value) for name, value in self.kwargs.items()}
        return Call(tuple(shaped(arg) for arg in self.args), kwargs, self.results)

    @property
    def _shapes(self) -> tuple[Any, ...]:
        return self.parameters[1]  # type: ignore[no-any-return]

    def cost(self, *specs: Spec) -> Cost:
        """Return the table's cost for these shapes; free where the table has no row."""
        if self._is_view:
            return FREE
        return cost_of(self.name, self._call(specs)) or FREE

    def workspace(self, *specs: Spec) -> int:
        """Return 0: the dispatcher sees no workspace."""
        return 0


def op_of(
    overload: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    value_of: Callable[[torch.Tensor], int],
    kept: Sequence[int] | None,
    results: Sequence[tuple[int, ...] | None],
) -> tuple[tuple[int, ...], AtenOp]:
    """Return the reads and the op of a call with tensors among its arguments.

    `kept` are the places of the results that are tensors; None for a call with a single result.
    """
    reads: list[int] = []
    shapes: list[tuple[int, ...]] = []

    def placed(tree: Tree) -> Tree:
        if isinstance(tree, torch.Tensor):
            reads.append(value_of(tree))
            shapes.append(tuple(tree.shape))
            return _Read(len(reads) - 1)
        if isinstance(tree, list | tuple):
            return type(tree)(placed(item) for item in tree)
        return tree

    placed_args = tuple(placed(arg) for arg in args)
    placed_kwargs = {name: placed(value) for name, value in kwargs.items()}
    places = None if kept is None else tuple(kept)
    kernel, text = _kernel(overload, placed_args, placed_kwargs, len(reads), places)
    shapes_of_results = tuple(torch.Size(shape) if shape is not None else None for shape in results)
    op = AtenOp(
        overload,
        placed_args,
        placed_kwargs,
        shapes_of_results,
        places,
        (text, tuple(shapes)),
        kernel,
    )
    return tuple(reads), op


def _kernel(
    target: Any, args: Tree, kwargs: Mapping[str, Tree], reads: int, kept: tuple[int, ...] | None
) -> tuple[Callable[..., Any], str]:
    """Return a function of the tensors that calls the op with its fixed arguments, and its text."""
    constants: dict[str, Any] = {"op": target}
    shown: list[str] = []

    def written(tree: Tree) -> str:
        if isinstance(tree, _Read):
            return f"t{tree.index}"
        if isinstance(tree, list | tuple) and any(isinstance(item, _Read) for item in tree):
            return "[" + ", ".join(written(item) for item in tree) + "]"
        name = f"c{len(constants)}"
        constants[name] = tree
        shown.append(f"{name}={tree!r}")
        return name

    arguments = [
        *(written(arg) for arg in args),
        *(f"{name}={written(value)}" for name, value in kwargs.items()),
    ]
    call = f"op({', '.join(arguments)})"
    if kept is not None:
        # A call with several results may leave some of them undefined; a single
        # result is returned without its tuple.
        call = (
            f"(lambda r: ({''.join(f'r[{i}], ' for i in kept)}))({call})"
            if len(kept) != 1
            else f"{call}[{kept[0]}]"
        )
    source = f"lambda {', '.join(f't{i}' for i in range(reads))}: {call}"
    function: Callable[..., Any] = eval(
        source, constants
    )  # the source is made above; user values are constants
    return function, f"{target}: {source} with {', '.join(shown)}"
