"""What an independent witness found: that it agrees, or the first place where it does not."""

from __future__ import annotations

from dataclasses import dataclass

from autodiff.errors import TapemeasureError


class AuditError(TapemeasureError):
    """A witness that shares no code with the counters does not agree with them."""


@dataclass(frozen=True)
class AuditReport:
    """The verdict of one witness: how many `events` it checked, and in words the first that differs (None where all agree)."""

    witness: str
    events: int
    first_mismatch: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the witness agrees throughout."""
        return self.first_mismatch is None

    def raise_if_wrong(self) -> None:
        """Raise AuditError, which names the first mismatch, where there is one."""
        if self.first_mismatch is not None:
            raise AuditError(f"the audit by {self.witness} disagrees: {self.first_mismatch}")
