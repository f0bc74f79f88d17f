from .counting import CountingScalar as CountingScalar, Tally as Tally
from .report import AuditError as AuditError, AuditReport as AuditReport
from .scalars import (
    SCALAR_LIMIT as SCALAR_LIMIT,
    ScalarRun as ScalarRun,
    audit_scalars as audit_scalars,
    count_by_scalars as count_by_scalars,
    run_on_scalars as run_on_scalars,
)
from .storages import StorageTracker as StorageTracker, audit_storages as audit_storages
