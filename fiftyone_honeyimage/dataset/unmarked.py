"""The images of a dataset that no marking has chosen."""

from __future__ import annotations

import fiftyone as fo
from fiftyone import ViewField as F

from .checks import HONEYIMAGE_TAG
from .runs import MARKING, list_keys


def unmarked(dataset: fo.Dataset) -> fo.DatasetView:
    """The images that no marking has chosen, of which every release holds the same file.

    The original of any HoneyImage would show whoever holds a release with it which image is marked.
    """
    view = dataset.match_tags(HONEYIMAGE_TAG, bool=False)
    for honey_key in list_keys(dataset, MARKING):
        if dataset.has_field(honey_key):
            view = view.match(F(f"{honey_key}.source") == None)  # noqa: E711 (a query)
    return view
