"""The images of a dataset that no marking has chosen."""

from __future__ import annotations

import fiftyone as fo

from ..identity import known_markings, originals


def unmarked(dataset: fo.Dataset) -> fo.DatasetView:
    """The images that no marking has chosen, of which every release holds the same file.

    The original of any HoneyImage would show whoever holds a release with it which image is marked.
    """
    markings = known_markings(dataset)
    images = [image["sample"] for known in markings for image in known.images if image["sample"]]
    asked = [image["source"] for known in markings for image in known.asked]
    return originals(dataset).exclude([*images, *asked])
