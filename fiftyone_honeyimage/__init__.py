"""HoneyImage for FiftyOne: prove that a model was trained on your image dataset.

Score how hard each image is, turn a few hard ones into HoneyImages that no one can see, export a
protected release, and later query any suspect model as a black box for a verdict that accuses an
innocent one with probability at most α. The method is HoneyImage (arXiv 2508.00892); the verdict
rests on twins, of which a secret coin releases one and withholds the other.

Functions take samples first, then field names and keys, then keywords, as in the FiftyOne Brain.
Everything heavy is imported inside them.
"""

from __future__ import annotations

from .core.errors import (
    DatabaseError,
    HoneyImageError,
    ImageError,
    InterruptedRunError,
    LedgerError,
    ParameterError,
    ReleaseError,
    SamplesError,
    SuspectError,
)
from .sdk.coins import draw_coins
from .sdk.marking import (
    attach_marking,
    compute_hardness,
    generate_honeyimages,
    load_marking,
    method_options,
)
from .sdk.planning import plan_marking
from .sdk.recipients import plan_recipients, trace_copy
from .sdk.release import (
    audit_release,
    export_release,
    list_releases,
    stamp,
)
from .sdk.runs import (
    delete_run,
    list_runs,
    read_note,
    rename_run,
    save_workspace,
    write_note,
)
from .sdk.verification import (
    evaluate_known_models,
    export_bundle,
    export_evidence,
    load_verification,
    verify_model,
    white_box_suspect,
)
from .version import __version__

__all__ = [
    "DatabaseError",
    "HoneyImageError",
    "ImageError",
    "InterruptedRunError",
    "LedgerError",
    "ParameterError",
    "ReleaseError",
    "SamplesError",
    "SuspectError",
    "__version__",
    "attach_marking",
    "audit_release",
    "compute_hardness",
    "delete_run",
    "draw_coins",
    "evaluate_known_models",
    "export_bundle",
    "export_evidence",
    "export_release",
    "generate_honeyimages",
    "list_releases",
    "list_runs",
    "load_marking",
    "load_verification",
    "method_options",
    "plan_marking",
    "plan_recipients",
    "read_note",
    "rename_run",
    "save_workspace",
    "stamp",
    "trace_copy",
    "verify_model",
    "white_box_suspect",
    "write_note",
]
