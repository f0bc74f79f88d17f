"""What the nodes of a joint graph say: their kind, their module, their line in the model."""

from __future__ import annotations

import re

import torch
from torch import fx

_aten = torch.ops.aten
NORM = _aten._native_batch_norm_legit_functional.default
"""The batch norm that returns new running statistics as its results 3 and 4."""

STATISTICS = (3, 4)

SAME = (_aten.detach.default, _aten.alias.default)
"""Ops whose result is their argument under another name."""

_ROOT = re.compile(r"^L\['\w+'\]\.?(__self__\.?)?")
_KEY = re.compile(r"\._modules\[['\"]?([^'\"\]]+)['\"]?\]|\[['\"]?([^'\"\]]+)['\"]?\]")


def module_of(node: fx.Node | None) -> str:
    """Return the dotted name of the innermost module that a node belongs to; empty for none."""
    if node is None:
        return "(outside)"
    stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack") or {}
    path = next((path for path, _ in reversed(list(stack.values()))), "")
    return dotted(path)


def dotted(path: str) -> str:
    """Return `layers.0.norm` for a path such as `L['self'].layers[0].norm`."""
    named = _KEY.sub(lambda match: f".{match[1] or match[2]}", _ROOT.sub("", path))
    return named.removeprefix(".")


def is_training_norm(node: fx.Node) -> bool:
    """Return whether a node is a batch norm that updates its running statistics."""
    return node.target is NORM and node.args[5] is True


def is_update(node: fx.Node) -> bool:
    """Return whether a node writes new values into an input, as Inductor has running statistics."""
    into = node.args[0] if node.target is _aten.copy_.default else None
    return isinstance(into, fx.Node) and into.op == "placeholder"


def device_of(node: fx.Node) -> torch.device:
    """Return the device of a node's results."""
    return first_value(node).device


def first_value(node: fx.Node) -> torch.Tensor:
    """Return the tensor that stands for a node's first result; some results may be undefined."""
    value = node.meta["val"]
    parts = value if isinstance(value, tuple | list) else (value,)
    return next(part for part in parts if isinstance(part, torch.Tensor))


def is_tangent(node: fx.Node) -> bool:
    """Return whether an input is the gradient of an output."""
    return node.op == "placeholder" and node.name.startswith("tangents")


def line_of(node: fx.Node) -> str:
    """Return the line of the model behind a node, as `file.py:12 (code)`."""
    lines = [line.strip() for line in str(node.meta.get("stack_trace") or "").splitlines()]
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].startswith("File "):
            name, line = lines[at].split('"')[1], lines[at].split("line ")[1].split(",")[0]
            code = lines[at + 1] if at + 1 < len(lines) else ""
            return f"{name.rpartition('/')[2]}:{line} ({code})"
    return f"the model ({node.name})"
