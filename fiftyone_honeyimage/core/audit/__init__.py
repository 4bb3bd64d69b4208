"""The leak audit: what an adversary who holds a release, and not the ledger, can find in it."""

from __future__ import annotations

from .audit import STAGES, audit_files
from .epsilon import EpsilonRow, epsilon_at_chance, separation_by_epsilon
from .metadata import ALPHA, check_metadata
from .report import AuditReport, Leak, Separation

__all__ = [
    "ALPHA",
    "STAGES",
    "AuditReport",
    "EpsilonRow",
    "Leak",
    "Separation",
    "audit_files",
    "check_metadata",
    "epsilon_at_chance",
    "separation_by_epsilon",
]
