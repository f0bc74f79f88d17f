"""Where cells begin, and which graphs are no chains of cells."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from autodiff import (
    AddBias,
    Cells,
    ComputationNode,
    Div,
    Leaf,
    Matsum,
    PlannerError,
    Program,
    RecomputeAll,
    Revolve,
    Spec,
    Uniform,
    check_schedule,
    find_cells,
    gradients,
    linearize,
    networks,
    squared_error,
)


def leaf(name: str, *shape: int, role: str = "parameter") -> Leaf:
    """Return a leaf with a shape and no value."""
    return Leaf(None, name, role, spec=Spec(shape, torch.float32))


def weights(n: int, d: int = 3) -> list[Leaf]:
    return [leaf(f"W_{i}", d, d) for i in range(1, n + 1)]


def program_of(loss: ComputationNode, wrt: list[Leaf]) -> Program:
    return linearize([loss, *gradients(loss, wrt)])


def starts(cells: Cells) -> list[str]:
    """Return the names of the values that cells start from."""
    return [cells.program.label(start) for start in cells.starts if start is not None]


def named(name: str, node: ComputationNode) -> Any:
    node.name = name
    return node


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
@pytest.mark.parametrize("loss", networks.LOSSES)
def test_each_layer_of_the_chain_is_a_cell(activation: str, loss: str) -> None:
    """A cell starts from each x_i, and the loss belongs to the last one."""
    for n in (1, 2, 5):
        network = networks.chain(n, 3, 4, activation=activation, loss=loss, values=False)
        cells = find_cells(program_of(network.loss, network.weights))
        assert starts(cells) == [f"x_{i}" for i in range(2, n + 1)]
        assert sorted(i for cell in cells.forward for i in cell) == [
            i for i, step in enumerate(cells.program.instructions) if step.phase == "forward"
        ]
        assert [i for stage in reversed(cells.stages) for i in stage] == [
            i for i, step in enumerate(cells.program.instructions) if step.phase == "backward"
        ]


def test_what_the_backward_part_reads_decides_what_a_cell_needs() -> None:
    """With tanh the state that a cell starts from, with gelu its product too."""
    labels = {}
    for activation in ("tanh", "gelu"):
        network = networks.chain(3, 3, 4, activation=activation, values=False)
        cells = find_cells(program_of(network.loss, network.weights))
        labels[activation] = [
            [cells.program.label(value) for value in needs] for needs in cells.needs
        ]
    assert labels["tanh"] == [[], ["x_2"], ["x_3", "x_4"]]
    assert labels["gelu"] == [["z_1"], ["x_2", "z_2"], ["x_3", "z_3"]]


def test_a_bias_belongs_to_its_layer() -> None:
    """The product is a cut that feeds a parameter, but a bias adds to what came before."""
    x: ComputationNode = leaf("x_1", 3, 4, role="input")
    parameters = []
    for i, weight in enumerate(weights(4), 1):
        bias = leaf(f"b_{i}", 3)
        parameters += [weight, bias]
        x = named(f"x_{i + 1}", AddBias(weight @ x, bias).tanh())
    assert starts(find_cells(program_of(Matsum(x), parameters))) == ["x_2", "x_3", "x_4"]


def test_a_residual_block_is_one_cell() -> None:
    """Only the state that a block starts from bypasses its layers, also in the first block."""
    x: ComputationNode = leaf("x_1", 3, 4, role="input")
    pairs = list(zip(weights(8)[::2], weights(8)[1::2], strict=True))
    for i, (inner, outer) in enumerate(pairs, 1):
        x = named(f"x_{i + 1}", x + outer @ (inner @ x).tanh())
    assert starts(find_cells(program_of(Matsum(x), [one for pair in pairs for one in pair]))) == [
        "x_2",
        "x_3",
        "x_4",
    ]


def test_data_that_every_cell_reads_breaks_nothing() -> None:
    """An input that is injected into every layer is always at hand."""
    x: ComputationNode = leaf("x_1", 3, 4, role="input")
    data = leaf("u", 3, 4, role="input")
    own, injected = weights(4), [leaf(f"U_{i}", 3, 3) for i in range(1, 5)]
    for i in range(4):
        x = named(f"x_{i + 2}", (own[i] @ x + injected[i] @ data).tanh())
    assert starts(find_cells(program_of(Matsum(x), [*own, *injected]))) == ["x_2", "x_3", "x_4"]


def test_widths_may_differ() -> None:
    """Cells are found whatever their sizes."""
    x: ComputationNode = leaf("x_1", 2, 4, role="input")
    widths = [2, 7, 1, 5, 3]
    own = [leaf(f"W_{i}", rows, columns) for i, (columns, rows) in enumerate(pairwise(widths), 1)]
    for i, weight in enumerate(own, 1):
        x = named(f"x_{i + 1}", (weight @ x).tanh())
    program = program_of(squared_error(x, leaf("y", 3, 4, role="input")), own)
    assert starts(find_cells(program)) == ["x_2", "x_3", "x_4"]


def no_chain(loss: ComputationNode, wrt: list[Leaf], *named_in_it: str) -> None:
    """Every planner that cuts refuses the program, in one line with these names."""
    program = program_of(loss, wrt)
    for planner in (
        RecomputeAll(),
        Uniform(2),
        Revolve(2),
        Revolve(max_bytes=10**9),
        Revolve(max_ops_ratio=2),
    ):
        with pytest.raises(PlannerError) as refused:
            planner(program)
        assert "\n" not in str(refused.value)
        for name in named_in_it:
            assert name in str(refused.value)


def test_layers_that_all_later_ones_read_are_no_chain() -> None:
    """Where every layer reads all earlier ones, the first bypass is named with both values."""
    own = weights(4)
    known: list[Any] = [leaf("x_1", 3, 4, role="input")]
    for i, weight in enumerate(own, 1):
        known.append(named(f"h_{i}", (weight @ total(known)).tanh()))
    no_chain(Matsum(total(known)), own, "leads past")


def test_results_that_lead_past_layers_in_pairs_are_no_chain() -> None:
    """A net that comes back by the way it went, each layer next to its counterpart."""
    own = weights(6)
    going: list[Any] = [leaf("x_1", 3, 4, role="input")]
    for i, weight in enumerate(own[:3], 1):
        going.append(named(f"down_{i}", (weight @ going[-1]).tanh()))
    x = going[-1]
    for i, weight in zip((2, 1), own[3:5], strict=True):
        x = named(f"up_{i}", (weight @ x).tanh() + going[i])
    no_chain(Matsum(own[5] @ x), own, "down_2 leads past down_3")


def test_what_is_made_ready_beside_the_chain_breaks_nothing() -> None:
    """A mask, shifted targets, a norm of a weight: computed before any layer, it is kept."""
    own, scale = weights(4), named("scale", leaf("s", 3, 3).tanh())
    answer = named("halves", leaf("y", 3, 4, role="input") * 0.5)
    mask = named("mask", leaf("m", 3, 4, role="input").exp())
    x: Any = leaf("x_1", 3, 4, role="input")
    for i, weight in enumerate(own, 2):
        x = named(f"x_{i}", ((weight @ x).tanh() * mask) + scale @ mask)
    program = program_of(squared_error(x, answer), own)
    cells = find_cells(program)
    assert starts(cells) == ["x_2", "x_3", "x_4"]
    assert {program.label(value) for value in cells.shared} == {"halves", "mask", "scale"}
    for planner in (RecomputeAll(), Uniform(2), Revolve(2), Revolve(max_ops_ratio=2)):
        schedule = planner(program)
        check_schedule(program, schedule)
        for value in cells.shared:
            assert [program.instructions[i].writes for i in schedule.order.tolist()].count(
                (value,)
            ) == 1


def test_a_norm_that_is_written_out_starts_its_cell() -> None:
    """A state that is divided by its own norm and then multiplied with a weight starts the cell."""
    x: ComputationNode = leaf("x_1", 3, 4, role="input")
    own = weights(4)
    for i, weight in enumerate(own, 2):
        x = named(f"x_{i}", x + (weight @ Div(x, (x * x + 1.0).exp())).tanh())
    assert starts(find_cells(program_of(Matsum(x), own))) == ["x_2", "x_3", "x_4"]


def test_a_stretch_without_a_product_is_no_cell() -> None:
    """A scale between two cuts joins the next layer; a network of only scales keeps them all."""
    own, scales = weights(4), [leaf(f"s_{i}", 3, 4) for i in range(1, 5)]
    x: Any = leaf("x_1", 3, 4, role="input")
    for i in range(4):
        x = named(f"y_{i + 2}", (named(f"x_{i + 2}", (own[i] @ x).tanh()) * scales[i]).tanh())
    assert starts(find_cells(program_of(Matsum(x), [*own, *scales]))) == [
        "x_2",
        "x_3",
        "x_4",
        "x_5",
    ]
    x = leaf("x_1", 3, 4, role="input")
    for i, scale in enumerate(scales):
        x = named(f"x_{i + 2}", (x * scale).tanh())
    assert starts(find_cells(program_of(Matsum(x), scales))) == ["x_2", "x_3", "x_4"]


def test_branches_within_a_block_are_one_cell() -> None:
    """Branches of two layers each that start from one value and end in one value."""
    x: Any = leaf("x_1", 3, 4, role="input")
    own = weights(12)
    for i in range(3):
        a, b, c, d = own[4 * i : 4 * i + 4]
        left, right = (a @ x).tanh(), (b @ x).tanh()
        x = named(f"x_{i + 2}", (c @ left).tanh() * (d @ right).tanh())
    assert starts(find_cells(program_of(Matsum(x), own))) == ["x_2", "x_3"]


def total(nodes: list[Any]) -> Any:
    """Return the sum of nodes."""
    result = nodes[0]
    for node in nodes[1:]:
        result = result + node
    return result


def test_two_towers_are_no_chain() -> None:
    """The second tower starts from the data again, next to the result of the first."""
    own = weights(6)
    data = leaf("x_1", 3, 4, role="input")
    towers: list[Any] = [data, data]
    for side in (0, 1):
        for i, weight in enumerate(own[3 * side : 3 * side + 3], 1):
            towers[side] = named(
                f"t{side}_{i}", named(f"p{side}_{i}", weight @ towers[side]).tanh()
            )
    no_chain(Matsum(towers[0] + towers[1]), own, "p1_1", "p1_2", "t0_2")


def test_micro_batches_are_no_chain() -> None:
    """With gradients between slices of a batch, the first value after a gradient is named."""
    network = networks.chain(4, 3, 6, micro_batches=2, values=False)
    no_chain(network.loss, network.weights, "of the forward part and comes after")
    assert "x_1" not in starts(
        find_cells(program_of(networks.chain(4, 3, 6, values=False).loss, []))
    )


def test_the_message_of_micro_batches_names_both_nodes() -> None:
    """A value of the second slice, and a gradient of the first."""
    network = networks.chain(2, 3, 6, micro_batches=2, values=False)
    with pytest.raises(PlannerError, match=r"comes after ∂L|comes after ∂") as refused:
        Revolve(1)(program_of(network.loss, network.weights))
    assert "accumulate gradients with store_all" in str(refused.value)
