"""Panels: one file each, stored results as plots, tables and a verdict. Nothing heavy is imported here."""

from __future__ import annotations

from .protect_panel import ProtectPanel
from .verification_panel import VerificationPanel

#: In the order of the manifest, ``fiftyone.yml``.
PANELS = [ProtectPanel, VerificationPanel]
