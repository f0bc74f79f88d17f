"""The words of a program: the phases of its instructions, the roles of its buffers."""

PHASES = ("forward", "recompute", "backward")
"""An instruction is of the forward phase if the loss depends on it, of the backward phase else; the former computed again is recomputed."""

ROLES = ("parameter", "input", "activation", "gradient", "parameter_gradient", "temporary")
"""The first two are the caller's; `gradient` is that of an activation."""
