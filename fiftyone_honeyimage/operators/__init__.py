"""Operators: one file each, a form, a call of the SDK, and what the user sees next.

Nothing heavy is imported here or at the top of these files: FiftyOne imports them whenever it lists
plugins.
"""

from __future__ import annotations

from .attach_marking import AttachMarking
from .audit_release import AuditRelease
from .compute_hardness import ComputeHardness
from .delete_run import DeleteRun
from .draw_coins import DrawCoins
from .estimate_time import EstimateTime
from .export_evidence import ExportEvidence
from .export_release import ExportRelease
from .generate_honeyimages import GenerateHoneyImages
from .list_runs import ListRuns
from .open_workspace import OpenWorkspace
from .rename_run import RenameRun
from .verify_model import VerifyModel

#: In the order of the manifest, ``fiftyone.yml``.
OPERATORS = [
    ComputeHardness,
    GenerateHoneyImages,
    ExportRelease,
    AuditRelease,
    VerifyModel,
    ExportEvidence,
    OpenWorkspace,
    ListRuns,
    AttachMarking,
    DrawCoins,
    RenameRun,
    DeleteRun,
    EstimateTime,
]
