"""The images of a dataset that no marking has chosen."""

from __future__ import annotations

import fiftyone as fo

from ..identity import known_markings, originals


def unmarked(dataset: fo.Dataset) -> fo.DatasetView:
    """The images that no marking has chosen, of which every release holds the same file.

    The original of any HoneyImage would show whoever holds a release with it which image is marked.
    """
    images = [image for known in known_markings(dataset) for image in known.images]
    return originals(dataset).exclude([image["sample"] for image in images if image["sample"]])
