"""One point measured: its numbers from a profile, the theory's beside them, its witnesses, and process memory in a child.

A point that is predicted to need more memory than is available is not run. Whatever goes wrong with a point becomes its row's
status and reason; the sweep goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from autodiff import networks
from autodiff.check import check_schedule
from autodiff.checkpointing.parse import parse_planner
from autodiff.errors import TapemeasureError
from autodiff.executable import Executable
from autodiff.program import Program
from autodiff.recording import recording_from_specs
from autodiff.schedule import Schedule
from experiments import theory
from experiments.errors import is_the_launchers
from experiments.grid.planners import operations_of, parameters_of, theory_of
from experiments.measuring import pytorch_chain
from experiments.names import FAILED, OK, SKIPPED
from experiments.results.point import Point
from experiments.results.rows import PEAK_ROLES, problem_of, row_of
from profiler.audit.scalars import SCALAR_LIMIT, audit_scalars
from profiler.audit.storages import audit_storages
from profiler.available import available_bytes
from profiler.graphs import profile_schedule
from profiler.ledger import ledger_of
from profiler.measurement import Profile
from profiler.process import run_in_child
from profiler.programs import program_of
from profiler.resident import measure_process_memory, process_memory_reason
from profiler.units import human_bytes

# From this size on a point gets a process of its own: whatever the system does to it for its memory, the sweep goes on.
LARGE_BYTES = 256 * 2**20


def network_of(point: Point, d: Any = None, b: Any = None) -> networks.Network:
    """The point's network, its leaves shapes alone; `d` and `b`, where given, stand in the place of its width and batch."""
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
    """The program of the point's mode, and its schedule."""
    wrt = {"no_grad": [], "w1_only": network.weights[:1]}.get(point.mode, network.weights)
    if point.mode == "only":
        wrt = [weight for weight in network.weights if weight.name == point.wrt]
    program = program_of(network.loss, wrt, "forward" if point.mode == "forward" else "backward")
    return program, parse_planner(point.planner)(program)


def measure(point: Point, timeout_s: float | None = None) -> dict[str, Any]:
    """The row of a point, whatever becomes of it.

    Larger shapes, and every point under a time limit, run in a child process of their own.
    """
    try:
        if has_own_process(point, timeout_s):
            outcome = run_in_child(_measured, point, timeout_s=timeout_s, threads=point.threads)
            if outcome.status != OK:
                return row_of(point, status=outcome.status, reason=outcome.reason)
            measured = outcome.value
        else:
            torch.set_num_threads(point.threads)
            measured = _measured(point)
        if measured["status"] == OK and point.execute and point.measure_process:
            measured.update(_process_memory(point, measured["peak_bytes"], timeout_s))
        row = row_of(point, **measured)
    except (
        Exception,
        SystemExit,
    ) as error:  # a planner may be the user's own, and PyTorch raises what it likes: it costs this point alone
        return failed_row(point, error)
    problem = problem_of(row)
    return row if problem is None else row_of(point, status=FAILED, reason=problem)


def failed_row(point: Point, error: BaseException) -> dict[str, Any]:
    """The row of a point that raised; a launcher's word to the whole job is passed on."""
    if is_the_launchers(error):
        raise error
    return row_of(point, status=FAILED, reason=_one_line(error))


def columns_beside(point: Point) -> dict[str, Any]:
    """What stands beside a point's measured columns: the theory's numbers and its planner's."""
    return {**_theory(point), **parameters_of(point.planner)}


def has_own_process(point: Point, timeout_s: float | None) -> bool:
    """Whether a point is measured in a process of its own: a larger shape, one that may hold LARGE_BYTES, any under a time limit."""
    return (
        point.part == "scale"
        or timeout_s is not None
        or (point.execute and _most_bytes(point) >= LARGE_BYTES)
    )


def _most_bytes(point: Point) -> int:
    """About the most that a run of the point holds, whatever its mode: weights, their gradients, two values of each layer and a few more."""
    layer, batch = point.d**2, point.b * point.d
    return int(getattr(torch, point.dtype).itemsize) * (
        2 * point.n * layer + 2 * (point.n + 3) * batch
    )


def _one_line(error: BaseException) -> str:
    """The first line of what an error says, with its type where it is none of ours."""
    said = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, TapemeasureError | theory.TheoryError | RuntimeError) and said:
        return said
    return f"{type(error).__name__}: {said}".rstrip(": ")


def _measured(point: Point) -> dict[str, Any]:
    """The measured columns of a point."""
    if point.engine == "pytorch":
        return _measured_pytorch(point)
    network = network_of(point)
    program, schedule = plan_of(point, network)
    lives = check_schedule(program, schedule)
    predicted = ledger_of(recording_from_specs(program, schedule, lives)).peak_bytes
    columns: dict[str, Any] = {"predicted_peak_bytes": predicted, **columns_beside(point)}
    if point.execute:
        too_much = _too_much(
            predicted + sum(program.values[value].spec.nbytes for value in program.given)
        )
        if too_much:
            return {"status": SKIPPED, "reason": too_much, **columns}
        network.draw(device=point.device)
    profile = profile_schedule(program, schedule, execute=point.execute, repeats=point.repeats)
    columns.update(_profile_columns(profile))
    columns.update(_witnessed(point, profile, program, schedule, predicted))
    return columns


def _measured_pytorch(point: Point) -> dict[str, Any]:
    """The measured columns of a point that plain PyTorch runs; without execution, on tensors without memory."""
    network = network_of(point)
    columns = {**pytorch_chain.pytorch_theory(point), **parameters_of(point.planner)}
    if not point.execute:
        with FakeTensorMode():
            network.draw(device=point.device)
            return {
                "status": OK,
                "reason": "",
                **columns,
                **_profile_columns(pytorch_chain.profile_pytorch(point, network)),
            }
    # PyTorch keeps what our engine keeps without a planner, and an activation or two more.
    plain = profile_schedule(
        *plan_of(replace(point, mode="full", planner="store_all"), network), execute=False
    )
    too_much = _too_much(plain.peak_bytes + plain.parameter_bytes + 2 * plain.input_bytes)
    if too_much:
        return {"status": SKIPPED, "reason": too_much, **columns}
    network.draw(device=point.device)
    profile = pytorch_chain.profile_pytorch(point, network)
    columns |= _profile_columns(profile) | pytorch_chain.wall_columns(point, network)
    if profile.uncounted:
        return {
            "status": FAILED,
            "reason": f"ops that are not counted: {', '.join(sorted(profile.uncounted))}",
            **columns,
        }
    return {"status": OK, "reason": "", **columns}


def _too_much(needed: int) -> str:
    """Why a step that needs so many bytes is not run; empty where it may be."""
    available = available_bytes()
    if needed <= available:
        return ""
    return f"needs {needed} bytes ({human_bytes(needed)}) by prediction, {human_bytes(available)} are available"


def _profile_columns(profile: Profile) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "ops": profile.ops.total,
        **{f"ops_{phase}": cost.total for phase, cost in profile.ops_by_phase.items()},
        "multiplications": profile.ops.multiplications,
        "additions": profile.ops.additions,
        "comparisons": profile.ops.comparisons,
        "elementary": profile.ops.elementary,
        "matmul_flops": profile.matmul_flops,
        "peak_bytes": profile.peak_bytes,
        **{
            f"peak_{role}_bytes": nbytes
            for role, nbytes in profile.peak_by_role.items()
            if f"peak_{role}_bytes" in PEAK_ROLES
        },
        "live_after_bytes": profile.live_after_bytes,
        "parameter_bytes": profile.parameter_bytes,
        "input_bytes": profile.input_bytes,
    }
    if profile.wall_ns is not None and profile.wall_ns_spread is not None:
        columns |= {f"wall_ns_{phase}": ns for phase, ns in profile.wall_ns.items()}
        columns |= {f"wall_ns_{phase}_spread": ns for phase, ns in profile.wall_ns_spread.items()}
        columns["load_average"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        columns["frequency_mhz"] = _frequency()
    return columns


def _frequency() -> float | None:
    """The processor's frequency at this moment in MHz; None where the system does not say."""
    try:
        frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    except (OSError, NotImplementedError):
        return None
    return frequency.current if frequency is not None and frequency.current else None


def _witnessed(
    point: Point, profile: Profile, program: Program, schedule: Schedule, predicted: int
) -> dict[str, Any]:
    """The status of a measured point: ok where the prediction and every witness that was asked for agree."""
    if profile.peak_bytes != predicted:
        return {
            "status": FAILED,
            "reason": f"measured a peak of {profile.peak_bytes} bytes where {predicted} were predicted; please report this",
        }
    witnesses: list[tuple[str, Callable[..., Any]]] = []
    if point.execute and point.audit in ("storages", "both"):
        witnesses.append(("storages", audit_storages))
    if point.execute and point.audit in ("scalars", "both") and profile.ops.total <= SCALAR_LIMIT:
        witnesses.append(("scalars", audit_scalars))
    for name, witness in witnesses:
        report = witness(program, schedule)
        if not report.ok:
            return {
                "status": FAILED,
                "reason": f"the witness of {name} disagrees: {report.first_mismatch}",
                "audit": name,
            }
    return {"status": OK, "reason": "", "audit": "+".join(name for name, _ in witnesses)}


def _theory(point: Point) -> dict[str, Any]:
    """What the theory says of a point; empty where it has no closed form."""
    itemsize = getattr(torch, point.dtype).itemsize
    if point.mode == "checkpointed":
        found = theory_of(point.planner, point.n, point.d, point.b, point.activation, point.loss)
        return (
            {}
            if found is None
            else {
                "theory_ops": operations_of(found),
                "theory_peak_bytes": itemsize * int(found.peak_elements),
            }
        )
    case: dict[str, Any] = {"activation": point.activation, "loss": point.loss}
    if point.mode in ("only", "w1_only"):
        case["wrt"] = point.wrt
    if point.micro_batches > 1:
        case["micro_batches"] = point.micro_batches
    shape = (point.mode, point.n, point.d, point.b)
    return {
        "theory_ops": theory.total_operations(*shape, **case),
        "theory_peak_bytes": itemsize * theory.peak_elements(*shape, **case),
    }


def _process_memory(point: Point, predicted: int, timeout_s: float | None) -> dict[str, Any]:
    """Resident memory of the point's step in a child, or why it is not measured."""
    reason = process_memory_reason(predicted)
    if reason is not None:
        return {"process_reason": reason}
    outcome = measure_process_memory(
        _prepare_step, point, timeout_s=timeout_s, threads=point.threads
    )
    if outcome.status != OK:
        return {
            "status": outcome.status,
            "reason": f"while its process memory was measured: {outcome.reason}",
        }
    return {
        "peak_rss_bytes": outcome.peak_rss_bytes,
        "baseline_rss_bytes": outcome.baseline_rss_bytes,
        "process_reason": outcome.reason,
    }


def _prepare_step(point: Point) -> Callable[[], Any]:
    """The point's step, ready to be run: what a child measures."""
    network = network_of(point)
    if point.engine == "pytorch":
        network.draw(device=point.device)
        return pytorch_chain.step_of(point, network)
    program, schedule = plan_of(point, network)
    network.draw(device=point.device)
    return Executable(program, schedule).run
