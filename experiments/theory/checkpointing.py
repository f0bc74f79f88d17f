"""What checkpointing the exercise's network costs: operations and peak of every planner.

The network and the letters are those of `theory` and `theory_peaks`: n layers, A = bd, D = d²; x_1
is given. All gradients are asked for.

**Layers.** A layer is a product and σ. Reversing layer k reads x_k; with gelu also z_k, with tanh,
relu, sigmoid x_{k+1} instead, which is still there from layer k+1. So to reverse a layer nothing is
run again, with gelu one product. With t(n, s) the fewest advances that reverse n steps with s
snapshots, x_1 among them, layers are run forward so often, the n first times included:

    store_all                    n
    recompute_all                t(n, 1) + 1                            gelu: n − 1 products more
    uniform, k segments          n, and l − 1 a segment but the last; gelu: k − 1 products more
    revolve, form 1              t(n, s) + 1                            gelu: n − 1 products more
    revolve, form 2              t(n − 1, s) + 2                        gelu: n − 2 products more

Form 2 makes one step of the last two layers. Revolve takes the form with fewer runs of products and
σ, then that of the lower peak; from s = n on it is store_all. t(n, s) = min over j of j + t(n − j,
s − 1) + t(j, s), t(1, ·) = 0, t(n, 1) = n(n−1)/2.

**Peak.** `theory_segments` has the moments of each move. The peak is the greatest of them all, each
with the snapshots below it.

**Splits.** Of all j that keep t, those are taken that make the peak least, which is a recurrence
too (`_lowest`): P of m steps from a is the least over j of max{advancing, x_{a+j} plus P of
the m−j behind it, P of the j before it}. For more than 64 steps, one rule is taken for all splits,
of three (the least j, the middle one, the greatest) that of the lowest peak.

Sources: Griewank and Walther 2000; Chen et al. 2016. Bound: exact for n, d, b ≥ 1, d and b integers
or integer arrays (the least peak is then found for each shape). It covers no subset of weights, no
micro-batches, and no budget of bytes or operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import comb, isqrt

import numpy as np

from experiments.theory.case import Dimension, TheoryError, check_count, check_dimensions, make_case
from experiments.theory.moments import Moment, Network, least, most
from experiments.theory.operation_counts import Operations, operations

PLANNERS = ("store_all", "recompute_all", "uniform", "revolve")
EXHAUSTIVE = 64


@dataclass(frozen=True)
class Checkpointed:
    """What a step costs under a planner: operations by phase, live elements at the peak."""

    operations: dict[str, Operations]
    peak_elements: Dimension


def checkpointed(
    planner: str,
    n: int,
    d: Dimension,
    b: Dimension,
    *,
    snapshots: int | None = None,
    segments: int | None = None,
    activation: str = "tanh",
    loss: str = "sum",
) -> Checkpointed:
    """Return what a step costs that computes the gradients of all weights under a planner.

    `revolve` takes `snapshots`; `uniform` takes `segments`, √n rounded where it is None. Raises
    TheoryError for what is no such planner.
    """
    check_dimensions(d, b)
    case = make_case("full", n, activation, loss)
    if planner not in PLANNERS:
        raise TheoryError(
            f"planner {planner!r}: expected one of {', '.join(PLANNERS)}; no formula covers another"
        )
    network = Network(case, b * d, d**2, b)
    if planner == "revolve":
        check_count("snapshots", snapshots)
        layers, products, peak = _revolve(network, snapshots or 0)
    elif planner == "recompute_all":
        layers, products, peak = (
            _form(network, 1, double=False) if n > 1 else (1, 0, network.reversed(1, 1))
        )
    else:
        k = 1 if planner == "store_all" else _root(n) if segments is None else segments
        check_count("segments", k)
        if k > n:
            raise TheoryError(f"segments={k} for n={n}: expected at most one a layer; give fewer")
        layers, products, peak = _uniform(network, k)
    phases = operations("full", n, d, b, activation=activation, loss=loss)
    phases["recompute"] = (layers - n) * _layer(activation, d, b) + products * _layer(
        "identity", d, b
    )
    return Checkpointed(phases, peak)


@lru_cache(maxsize=2**16)
def advances(n: int, s: int) -> int:
    """Return t(n, s) as r·n − C(s+r, s+1), r the least with C(s+r, s) ≥ n, for s ≥ 1.

    At most n − 1 snapshots help.
    """
    s = min(s, n - 1)
    if s <= 1:
        return n * (n - 1) // 2
    r = 0
    while comb(s + r, s) < n:
        r += 1
    return r * n - comb(s + r, s + 1)


def _root(n: int) -> int:
    """Return √n rounded: half of √4n, rounded up where it is odd (√n is never halfway)."""
    return (isqrt(4 * n) + 1) // 2


def _layer(activation: str, d: Dimension, b: Dimension) -> Operations:
    """Return the operations of one layer forward: what a second layer adds to a network of one."""
    two, one = (operations("no_grad", n, d, b, activation=activation)["forward"] for n in (2, 1))
    return two + -1 * one


def _uniform(network: Network, k: int) -> tuple[int, int, Moment]:
    """Layers, further products and peak of k segments, the longer ones last; k = 1 stores all."""
    n = network.case.n
    short, longer = divmod(n, k)
    starts = [1 + i * short + max(0, i - (k - longer)) for i in range(k + 1)]
    held: Moment = 0
    moments: list[Moment] = []
    for start, above in pairwise(starts):
        if above <= n:
            moments.append(held + network.advancing(start, above, n + 1))
        moments.append(held + network.reversed(start, above - 1))
        held = held + network.x(start)
    again = sum(above - start - 1 for start, above in pairwise(starts[:-1]))
    return n + again, k - 1 if network.gelu else 0, most(*moments)


def _revolve(network: Network, s: int) -> tuple[int, int, Moment]:
    """Layers, further products and peak of the better form."""
    n = network.case.n
    if s >= n:
        return n, 0, network.reversed(1, n)
    forms = [_form(network, s, double=double) for double in (False, True)]
    activations = 0 if network.identity else 1
    runs = [layers * (1 + activations) + products for layers, products, _ in forms]
    best = [form for form, steps in zip(forms, runs, strict=True) if steps == min(runs)]
    return best[0][0], best[0][1], least(*(peak for _, _, peak in best))


def _form(network: Network, s: int, *, double: bool) -> tuple[int, int, Moment]:
    """Return layers, further products and peak of form 1, or of form 2.

    Form 2 reverses the last two layers as one step.
    """
    n = network.case.n
    steps = n - double
    layers = advances(steps, s) + 1 + double
    products = n - 1 - double if network.gelu else 0
    peak = (
        _lowest(network, steps, s)
        if steps <= EXHAUSTIVE
        else least(*(_by_rule(network, steps, s, rule) for rule in range(3)))
    )
    return layers, products, peak


def _step(network: Network, k: int, steps: int) -> Moment:
    """Reversing one step, the last of which may be two layers."""
    return network.reversed(k, network.case.n if k == steps else k)


def _lowest(network: Network, steps: int, s: int) -> Moment:
    """Return the least peak over all splits that keep t, by the recurrence above.

    Blocks grow in length, all starts at once.
    """
    n = network.case.n
    held = np.array(
        [network.x(k) for k in range(1, steps + 1)]
    )  # one row a start; one column a shape, where there are several
    above = np.array([network.left(k if k <= steps else n + 1) for k in range(1, steps + 2)])
    one, more = (network.advancing(1, 1 + j, n + 1) for j in (1, 2))
    peaks = {(1, 0): np.array([_step(network, k, steps) for k in range(1, steps + 1)])}
    for m, s_here in sorted(_reached(steps, s) - {(1, 0)}):
        starts = steps - m + 1
        choices = [
            most(
                above[m:] + held[:starts] + (one if j == 1 else more),
                held[:starts] + peaks[m - j, min(s_here - 1, m - j - 1)][j : j + starts],
                peaks[j, min(s_here, j - 1)][:starts],
            )
            for j in _splits(m, s_here)
        ]
        peaks[m, s_here] = least(*choices)
    lowest = peaks[steps, min(s, steps - 1)][0]
    return lowest if isinstance(network.a, np.ndarray) else int(lowest)


def _reached(steps: int, s: int) -> set[tuple[int, int]]:
    """Return the pairs (length, snapshots) of the blocks that any splits lead to."""
    reached: set[tuple[int, int]] = set()
    open_pairs = {(steps, min(s, steps - 1))}
    while open_pairs:
        m, held = open_pairs.pop()
        reached.add((m, held))
        for j in _splits(m, held) if m > 1 else ():
            open_pairs |= {(j, min(held, j - 1)), (m - j, min(held - 1, m - j - 1))} - reached
    return reached


@lru_cache(maxsize=2**16)
def _splits(m: int, s: int) -> tuple[int, ...]:
    """Every j that keeps t(m, s), by trying all; with one snapshot only m − 1."""
    if s == 1:
        return (m - 1,)
    return tuple(
        j for j in range(1, m) if j + advances(m - j, s - 1) + advances(j, s) == advances(m, s)
    )


def _by_rule(network: Network, steps: int, s: int, rule: int) -> Moment:
    """Return the peak where every split is the least (0), middle (1) or greatest (2) that keeps t.

    Of two middles the lesser is taken.
    """
    return most(*_moments_by_rule(network, steps, s, rule))


def _moments_by_rule(network: Network, steps: int, s: int, rule: int) -> Iterator[Moment]:
    blocks: list[tuple[int, int, int, Moment]] = [(1, steps, s, 0)]
    while blocks:
        k, m, held, below = blocks.pop()
        if m == 1:
            yield below + _step(network, k, steps)
            continue
        held = min(held, m - 1)
        splits = _splits(m, held)
        j = splits[(0, (len(splits) - 1) // 2, len(splits) - 1)[rule]]
        yield below + network.advancing(k, k + j, k + m if k + m <= steps else network.case.n + 1)
        blocks += [(k, j, held, below), (k + j, m - j, held - 1, below + network.x(k))]
