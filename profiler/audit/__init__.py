"""Witnesses that share no code with the counters: scalars that count their own arithmetic, and PyTorch's live storages."""

from profiler.audit.counting import CountingScalar, Tally
from profiler.audit.report import AuditError, AuditReport
from profiler.audit.scalars import (
    SCALAR_LIMIT,
    ScalarRun,
    audit_scalars,
    count_by_scalars,
    run_on_scalars,
)
from profiler.audit.storages import StorageTracker, audit_storages

__all__ = [
    "SCALAR_LIMIT",
    "AuditError",
    "AuditReport",
    "CountingScalar",
    "ScalarRun",
    "StorageTracker",
    "Tally",
    "audit_scalars",
    "audit_storages",
    "count_by_scalars",
    "run_on_scalars",
]
