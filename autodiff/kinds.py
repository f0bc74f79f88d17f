"""Which ops are interchangeable, so that one is counted, named and compiled for all."""

from __future__ import annotations

from typing import Any

from autodiff.node import ComputationNode

_OF_EVERY_NODE = frozenset(
    [
        "name",
        "serial",
        "input_nodes",
        "result",
        "gradient",
        "gradient_of",
        "role",
        "spec",
        "accumulates",
        "gradient_nodes",
        "parameters",
    ]
)


def kind_of(op: Any) -> Any:
    """Return a key that is equal for ops which compute and cost the same on equal inputs.

    It holds the class, the declared parameters and every further attribute of a node, whenever that
    was set. An op that holds something which cannot be compared is a kind of its own.
    """
    parameters = op.parameters
    if not isinstance(op, ComputationNode):
        return (type(op), parameters) if parameters else id(op)
    state = vars(op)
    if not parameters and state.keys() <= _OF_EVERY_NODE:
        return type(op)
    further = tuple([(name, state[name]) for name in sorted(state.keys() - _OF_EVERY_NODE)])
    types = tuple([type(part) for part in (*parameters, *(value for _, value in further))])
    key = (type(op), parameters, further, types)
    try:
        hash(key)
    except TypeError:
        return id(op)
    return key
