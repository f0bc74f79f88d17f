"""What an independent cross-check found: agreement, or the first difference."""

from __future__ import annotations

from dataclasses import dataclass

from autodiff.errors import TapemeasureError


class AuditError(TapemeasureError):
    """A cross-check that shares no code with the counters disagrees with them."""


@dataclass(frozen=True)
class AuditReport:
    """The verdict of one cross-check, `scalars` or `storages`.

    `events` is how many comparisons were made, `first_mismatch` the first that differs, in words
    (None where all agree).
    """

    audit: str
    events: int
    first_mismatch: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the cross-check agrees throughout."""
        return self.first_mismatch is None

    def raise_if_wrong(self) -> None:
        """Raise AuditError, which names the first mismatch, where there is one."""
        if self.first_mismatch is not None:
            raise AuditError(f"the audit by {self.audit} disagrees: {self.first_mismatch}")
