"""Specs that were met before, as one object each.

A deep network asks its ops for the same results over and over, and a step that is measured again
asks as before. Both tables are bounded: when one is full, both begin anew.
"""

from __future__ import annotations

from typing import Any

import torch

from autodiff.spec import Spec


class KnownSpecs:
    """Equal specs as one object, and the spec that an op's class gives for specs, by identity.

    An entry holds on to its specs, so that their ids stay theirs. It is of the default dtype too,
    which functions of integers give.
    """

    most = 4096

    def __init__(self) -> None:
        self._results: dict[tuple[Any, ...], tuple[Spec | None, list[Spec | None]]] = {}
        self._one_of_a_kind: dict[Any, Spec] = {}
        self.result_of = self._results.get

    def one(self, spec: Spec) -> Spec:
        """Return the one object that stands for all specs equal to this one.

        Specs whose dimensions are arrays cannot be recognised, and stay as they are.
        """
        # 8 and np.int64(8) are equal and do not compute alike.
        key = (spec, *map(type, spec.shape))
        try:
            known = self._one_of_a_kind.get(key)
        except TypeError:
            return spec
        if known is None:
            self._stay_bounded()
            known = self._one_of_a_kind[key] = spec
        return known

    def keep(self, op: type, specs: list[Spec | None], result: Spec | None) -> Spec | None:
        """Remember the result of an op's class; return the one object that stands for it."""
        result = None if result is None else self.one(result)
        self._stay_bounded()
        self._results[(op, torch.get_default_dtype(), *map(id, specs))] = result, specs
        return result

    def _stay_bounded(self) -> None:
        if max(len(self._results), len(self._one_of_a_kind)) >= self.most:
            self._results.clear()
            self._one_of_a_kind.clear()


known_specs = KnownSpecs()
