"""The memory that is left: in the system, and in the control groups that a process is in."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def available_bytes() -> int:
    """Return the bytes that this process can allocate before memory runs out.

    The limit is that of the system or of a control group, whichever is nearer.
    """
    left_bytes = [int(psutil.virtual_memory().available)]
    with suppress(OSError):  # a system without control groups
        left_bytes += cgroup_left_bytes(
            Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup")
        )
    return max(0, min(left_bytes))


def cgroup_left_bytes(membership: str, mount: Path) -> list[int]:
    """Return the bytes left below each memory limit of a process's control groups.

    These are its own groups and all that contain them. `membership` is the text of
    /proc/PID/cgroup, `mount` where the groups are mounted; both versions of control groups are
    read. The cached pages of files that the kernel gives back first do not count as used.
    """
    second = ("memory.max", "memory.current", "inactive_file")
    first = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    kinds = [
        ("", mount, second),
        ("", mount / "unified", second),
        ("memory", mount / "memory", first),
    ]
    left_bytes = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        # In a container the path may be the host's, which is not mounted here: then only the root
        # of the mount has files.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for root, (limit, usage, cache) in [
            (root, names) for kind, root, names in kinds if kind in controllers.split(",")
        ]:
            for folder in (root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)):
                with suppress(
                    OSError, ValueError
                ):  # no such file, or the word "max": no limit here
                    cached = dict(
                        row.split() for row in (folder / "memory.stat").read_text().splitlines()
                    ).get(cache, 0)
                    left_bytes.append(
                        int((folder / limit).read_text())
                        - int((folder / usage).read_text())
                        + int(cached)
                    )
    return left_bytes
