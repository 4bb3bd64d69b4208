"""What other markings of a dataset chose, and this one must not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone as fo
import numpy as np

from ...core.errors import InterruptedRunError
from ...core.pipeline.labeled import LabeledSamples
from ..identity import known_markings


def chosen_by_others(labeled: LabeledSamples, honey_key: str) -> np.ndarray:
    """bool (N,), the images that another marking chose, or that hold the same bytes as one of those.

    A release of the one would publish what the other withholds.
    """
    return np.array([bool(labeled.chosen.get(i, set()) - {honey_key}) for i in labeled.ids])


def check_still_free(dataset: fo.Dataset, honey_key: str, manifest: Mapping[str, Any]) -> None:
    """Checks that no other marking was finished meanwhile that chose one of its images.

    Raises:
        InterruptedRunError: naming the other marking
    """
    images = [*manifest["images"], *manifest.get("probe_sources", ())]
    for other in known_markings(dataset):
        if other.name == honey_key:
            continue
        taken = {image[name] for image in other.images for name in ("sample", "source_sha256")}
        taken |= {image["source_sha256"] for image in other.asked}
        common = [i for i in images if i["source"] in taken or i["source_sha256"] in taken]
        if common:
            raise InterruptedRunError(
                f"marking '{other.name}' was finished meanwhile and chose {len(common)} of the same "
                f"images (the first is sample {common[0]['source']}), so that a release of one would "
                "publish what the other withholds. Nothing was added; call it again to choose others"
            )
