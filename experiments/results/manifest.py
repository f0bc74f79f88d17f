"""Where and with what a sweep was measured: versions, processor, threads, commit, config."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("torch", "numpy", "pandas", "matplotlib", "hydra-core", "psutil", "tapemeasure")

_NUMBER, _WHOLE = (int, float), (int,)
_KINDS: dict[str, tuple[type, ...]] = {
    "python": (str,),
    "versions": (dict,),
    "system": (str,),
    "cpu": (str,),
    "cores": _WHOLE,
    "frequency_mhz": _NUMBER,
    "memory_bytes": _WHOLE,
    "threads": _WHOLE,
    "load_average": _NUMBER,
    "commit": (str,),
    "config": (dict,),
}


def sound(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the known keys of a manifest that was read and may be damaged, where valid."""
    kept = {key: manifest[key] for key, kinds in _KINDS.items() if type(manifest.get(key)) in kinds}
    return {
        key: value
        for key, value in kept.items()
        if not isinstance(value, int | float) or 0 <= value < 2**63
    }


def manifest_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a reader needs to know of the machine and the software, as plain JSON."""
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return {
        "python": sys.version.split()[0],
        "versions": {name: _version(name) for name in PACKAGES},
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": psutil.cpu_count(logical=True),
        "frequency_mhz": None if frequency is None else frequency.current,
        "memory_bytes": psutil.virtual_memory().total,
        "threads": config.get("threads"),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "commit": _commit(),
        "config": config,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit of this code, `+` where it was changed, `unknown` outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
