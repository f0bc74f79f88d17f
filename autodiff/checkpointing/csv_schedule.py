"""Schedules as CSV files: one row per step, and the claims in comments.

    # planner: revolve(snapshots=3)
    # claims: forward=9 recompute=4 backward=20 held=5
    step,kind,instruction,node,overwrites
    0,compute,0,z_1,

`instruction` is the number of the instruction in the program; `node` is what it computes, for
readers, and is compared when the file is read, so that a schedule is not run on another program by
mistake. `overwrites` is the read whose buffer is taken over, mostly empty. A file written elsewhere
needs both comment lines: without claims there is nothing that a check could hold it to.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from autodiff.check import check_schedule
from autodiff.errors import ScheduleError
from autodiff.program import Program
from autodiff.schedule import Claims, Kind, Schedule

_HEADER = ["step", "kind", "instruction", "node", "overwrites"]


def write_schedule(path: str | Path, program: Program, schedule: Schedule) -> Path:
    """Write a schedule of a program to a CSV file; return its path."""
    path = Path(path)
    claims = schedule.claims
    claimed = f"forward={claims.forward} recompute={claims.recompute} backward={claims.backward}"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(
            f"# planner: {schedule.planner}\n# claims: "
            f"{claimed}{'' if claims.held is None else f' held={claims.held}'}"
            f"{f' moved_bytes={claims.moved_bytes}' if claims.moved_bytes else ''}\n"
        )
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_HEADER)
        for at, step in enumerate(schedule.steps):
            node = program.label(program.instructions[step.instruction].writes[0])
            rows.writerow(
                [
                    at,
                    step.kind.value,
                    step.instruction,
                    node,
                    "" if step.overwrites is None else step.overwrites,
                ]
            )
    return path


def read_schedule(path: str | Path, program: Program) -> Schedule:
    """Read a schedule of a program from a CSV file, and check it.

    Raises ScheduleError, with the line, where the file is no schedule of this program, or the
    schedule is illegal or breaks its claims.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScheduleError(
            f"{path} cannot be read ({error}); expected a schedule as write_schedule writes it"
        ) from error
    notes = dict(line[1:].strip().partition(": ")[::2] for line in lines if line.startswith("#"))
    for note in ("planner", "claims"):
        if note not in notes:
            raise ScheduleError(
                f"{path} has no line '# {note}: …'; expected both a planner and claims; see "
                "write_schedule"
            )
    rows = [
        (number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")
    ]
    if not rows or rows[0][1].split(",") != _HEADER:
        raise ScheduleError(
            f"{path} has the columns {rows[0][1] if rows else '(none)'}; expected "
            f"{','.join(_HEADER)}"
        )
    order: list[int] = []
    overwrites: dict[int, int] = {}
    for (number, _), row in zip(rows[1:], csv.reader(line for _, line in rows[1:]), strict=True):
        instruction, taken_over = _step(f"{path}, line {number}", row, len(order), program)
        if taken_over is not None:
            overwrites[len(order)] = taken_over
        order.append(instruction)
    schedule = Schedule(
        np.array(order, dtype=np.int64),
        _claims(path, notes["claims"]),
        notes["planner"],
        overwrites,
    )
    check_schedule(program, schedule)
    return schedule


def _step(where: str, row: list[str], at: int, program: Program) -> tuple[int, int | None]:
    """Return the instruction and the read that it writes over."""
    if (
        len(row) != len(_HEADER)
        or row[1] != Kind.COMPUTE.value
        or not row[2].isdecimal()
        or not (row[4] == "" or row[4].isdecimal())
    ):
        raise ScheduleError(
            f"{where}: {','.join(row)!r}; expected step,compute,instruction,node,overwrites with "
            "numbers"
        )
    instruction = int(row[2])
    if row[0] != str(at):
        raise ScheduleError(
            f"{where} is step {row[0]}; expected step {at}: number the steps from 0 without gaps"
        )
    if instruction >= len(program.instructions):
        raise ScheduleError(
            f"{where} runs instruction {instruction}; expected one of 0 to "
            f"{len(program.instructions) - 1} of this program"
        )
    writes, reads = (
        program.instructions[instruction].writes,
        program.instructions[instruction].reads,
    )
    if program.label(writes[0]) != row[3]:
        raise ScheduleError(
            f"{where} computes {row[3]}; instruction {instruction} of this program computes "
            f"{program.label(writes[0])}; give its own program"
        )
    if row[4] and int(row[4]) >= len(reads):
        raise ScheduleError(
            f"{where} writes over read {row[4]} of {row[3]}; expected one of its {len(reads)} reads"
        )
    return instruction, int(row[4]) if row[4] else None


def _claims(path: Path, text: str) -> Claims:
    try:
        return Claims(
            **{
                key: int(value)
                for key, _, value in (claim.partition("=") for claim in text.split())
            }
        )
    except (TypeError, ValueError):
        raise ScheduleError(
            f"{path} claims {text!r}; expected forward=… recompute=… backward=… and, if claimed, "
            "held=…, in whole numbers"
        ) from None
