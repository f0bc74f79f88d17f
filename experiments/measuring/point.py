"""One point measured: counts of a profile, the theory's, the audits, process memory in a child.

A point that is predicted to need more memory than is available is not run. Whatever goes wrong with
a point becomes the status and reason of its row; the sweep goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from autodiff import networks
from autodiff.check import check_schedule
from autodiff.checkpointing.parse import planned
from autodiff.executable import Executable
from autodiff.program import Program
from autodiff.recording import recording_from_specs
from autodiff.schedule import Schedule
from experiments.errors import is_the_launchers, one_line
from experiments.grid.planners import parameters_of
from experiments.measuring import pytorch_chain
from experiments.measuring.columns import Columns, computed_columns, profile_columns
from experiments.measuring.isolated import ChildError, in_child, needs_child
from experiments.names import AUDITS_RUN, FAILED, ITEMSIZES, OK, SKIPPED
from experiments.results.point import Point
from experiments.results.rows import Row, row_of
from profiler.audit.scalars import SCALAR_LIMIT, audit_scalars
from profiler.audit.storages import audit_storages
from profiler.available import available_bytes
from profiler.graphs import profile_schedule
from profiler.ledger import ledger_of
from profiler.measurement import Profile
from profiler.programs import program_of
from profiler.resident import measure_process_memory, process_memory_reason
from profiler.units import human_bytes

LARGE_BYTES = 256 * 2**20
"""From this size on a point runs in a child: if the system kills that, the sweep goes on."""


def network_of(point: Point, d: Any = None, b: Any = None) -> networks.Network:
    """Return the point's network, its leaves without values; `d`, `b` replace width and batch."""
    return networks.chain(
        point.n,
        point.d if d is None else d,
        point.b if b is None else b,
        activation=point.activation,
        loss=point.loss,
        dtype=getattr(torch, point.dtype),
        values=False,
        micro_batches=point.micro_batches,
    )


def plan_of(point: Point, network: networks.Network) -> tuple[Program, Schedule]:
    """Return the program of the point's mode, and its schedule."""
    wrt = {"no_grad": [], "w1_only": network.weights[:1]}.get(point.mode, network.weights)
    if point.mode == "only":
        wrt = [weight for weight in network.weights if weight.name == point.wrt]
    program = program_of(network.loss, wrt, "forward" if point.mode == "forward" else "backward")
    return planned(program, point.planner)


def measure(point: Point, timeout_s: float | None = None) -> Row:
    """Return the row of a point, whatever becomes of it.

    Larger shapes, users' planners, and every point under a time limit run in a child process of
    their own.
    """
    try:
        if has_own_process(point, timeout_s):
            measured = in_child(_measured, point, point, timeout_s=timeout_s)
        else:
            torch.set_num_threads(point.threads)
            measured = _measured(point)
        if measured["status"] == OK and point.execute and point.measure_process:
            measured.update(_process_memory(point, measured["peak_bytes"], timeout_s))
        return row_of(point, **measured)
    except Exception as error:  # PyTorch raises what it likes: it fails this point only
        return failed_row(point, error)


def failed_row(point: Point, error: BaseException) -> Row:
    """Return the row of a point that raised; raise what a launcher raised to end the whole job."""
    if is_the_launchers(error):
        raise error
    status = error.status if isinstance(error, ChildError) else FAILED
    return row_of(point, status=status, reason=one_line(error))


def has_own_process(point: Point, timeout_s: float | None) -> bool:
    """Return whether a point is measured in a process of its own.

    So is a larger shape, one that may hold LARGE_BYTES, every point under a time limit, and what
    `needs_child`.
    """
    return (
        needs_child(point)
        or point.part == "scale"
        or timeout_s is not None
        or (point.execute and _most_bytes(point) >= LARGE_BYTES)
    )


def _most_bytes(point: Point) -> int:
    """Return about the most that a run of the point holds, whatever its mode.

    That is weights and their gradients, two values of each layer and a few more.
    """
    layer, batch = point.d**2, point.b * point.d
    return ITEMSIZES[point.dtype] * (2 * point.n * layer + 2 * (point.n + 3) * batch)


def _measured(point: Point) -> Columns:
    """Return the measured columns of a point."""
    if point.engine == "pytorch":
        return _measured_pytorch(point)
    network = network_of(point)
    program, schedule = plan_of(point, network)
    predicted = predicted_peak_bytes(program, schedule)
    columns: Columns = {"predicted_peak_bytes": predicted, **computed_columns(point)}
    if point.execute:
        too_much = _too_much(predicted + given_bytes(program))
        if too_much:
            return {"status": SKIPPED, "reason": too_much, **columns}
        network.draw(device=point.device)
    profile = profile_schedule(program, schedule, execute=point.execute, repeats=point.repeats)
    audited = _audited(point, profile, program, schedule, predicted)
    return {**columns, **profile_columns(profile), **audited}


def predicted_peak_bytes(program: Program, schedule: Schedule) -> int:
    """Return the peak of live bytes of a schedule, from shapes; raise if it is illegal."""
    lives = check_schedule(program, schedule)
    return ledger_of(recording_from_specs(program, schedule, lives)).peak_bytes


def given_bytes(program: Program) -> int:
    """Return the bytes of what exists before the step: parameters and inputs."""
    return sum(program.values[value].spec.nbytes for value in program.given)


def _measured_pytorch(point: Point) -> Columns:
    """Return the measured columns of a point that PyTorch runs, on fake tensors if it must."""
    network = network_of(point)
    columns: Columns = {**pytorch_chain.pytorch_theory(point), **parameters_of(point.planner)}
    if not point.execute:
        with FakeTensorMode():
            network.draw(device=point.device)
            profile = pytorch_chain.profile_pytorch(point, network)
    else:
        # PyTorch keeps what our engine keeps without a planner, and an activation or two more.
        plain = profile_schedule(
            *plan_of(replace(point, mode="full", planner="store_all"), network), execute=False
        )
        too_much = _too_much(plain.peak_bytes + plain.parameter_bytes + 2 * plain.input_bytes)
        if too_much:
            return {"status": SKIPPED, "reason": too_much, **columns}
        network.draw(device=point.device)
        profile = pytorch_chain.profile_pytorch(point, network)
        columns |= pytorch_chain.wall_columns(point, network)
    columns |= profile_columns(profile)
    if profile.uncounted:
        uncounted = f"ops that are not counted: {', '.join(sorted(profile.uncounted))}"
        return {"status": FAILED, "reason": uncounted, **columns}
    return {"status": OK, **columns}


def _too_much(needed: int) -> str:
    """Return why a step that needs so many bytes is not run; empty if it may be."""
    available = available_bytes()
    if needed <= available:
        return ""
    return (
        f"needs {needed} bytes ({human_bytes(needed)}) by prediction, "
        f"{human_bytes(available)} are available"
    )


def _audited(
    point: Point, profile: Profile, program: Program, schedule: Schedule, predicted: int
) -> Columns:
    """Return the status of a measured point: ok if the prediction and every audit agree."""
    if profile.peak_bytes != predicted:
        reason = f"measured a peak of {profile.peak_bytes} bytes, predicted {predicted}"
        return {"status": FAILED, "reason": f"{reason}; please report this"}
    audits: list[tuple[str, Callable[..., Any]]] = []
    if point.execute and point.audit in ("storages", "both"):
        audits.append(("storages", audit_storages))
    if point.execute and point.audit in ("scalars", "both") and profile.ops.total <= SCALAR_LIMIT:
        audits.append(("scalars", audit_scalars))
    for name, audit in audits:
        report = audit(program, schedule)
        if not report.ok:
            singular = name.removesuffix("s")
            reason = f"{singular} audit failed: {report.first_mismatch}"
            return {"status": FAILED, "reason": reason, "audit": name}
    ran = "+".join(name for name, _ in audits)
    assert ran in AUDITS_RUN
    return {"status": OK, "audit": ran}


def _process_memory(point: Point, predicted: int, timeout_s: float | None) -> Columns:
    """Return the resident memory of the point's step in a child, or why it is not measured."""
    reason = process_memory_reason(predicted)
    if reason is not None:
        return {"process_reason": reason}
    outcome = measure_process_memory(
        _prepare_step, point, timeout_s=timeout_s, threads=point.threads
    )
    if outcome.status != OK:
        reason = f"while its process memory was measured: {outcome.reason}"
        return {"status": outcome.status, "reason": reason}
    return {
        "peak_rss_bytes": outcome.peak_rss_bytes,
        "baseline_rss_bytes": outcome.baseline_rss_bytes,
        "process_reason": outcome.reason,
    }


def _prepare_step(point: Point) -> Callable[[], Any]:
    """Return the point's step, ready to be run: what a child measures."""
    network = network_of(point)
    if point.engine == "pytorch":
        network.draw(device=point.device)
        return pytorch_chain.step_of(point, network)
    program, schedule = plan_of(point, network)
    network.draw(device=point.device)
    return Executable(program, schedule).run
