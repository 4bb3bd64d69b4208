"""What a form of a marking checks of its answers together: whether there are images enough, and whether key and folder are free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types

from ..core.errors import HoneyImageError
from ..core.methods import Method
from . import questions
from .form_errors import errors_on, errors_on_named
from .form_parts import once, view_key

if TYPE_CHECKING:
    import fiftyone as fo


def check_candidates(
    ctx: Any,
    inputs: types.Object,
    samples: fo.core.collections.SampleCollection,
    labeled: Any,
    scores: Any,
    earlier: Any,
    numbers: tuple[int, int],
    values: Mapping[str, Any],
    method: Method,
) -> None:
    """Says at the number of pairs where too few images can be marked."""
    from ..core.pipeline.candidates import exclusion_masks, select
    from ..dataset.hardness_measures import read_choice

    hardness, label_errors = scores
    num_honeyimages, num_pairs = numbers
    asked = inputs.properties.get("exclude")
    if asked is not None and asked.invalid:
        return
    own = {q.name: values[q.name] for q in method.Options.questions() if q.name in values}
    try:
        method.Options(**own)
    except HoneyImageError:  # an option's own question tells what is wrong
        return
    field = values["hardness_field"]
    with errors_on_named(inputs, inputs.properties["num_pairs"]):
        key = ("choice", view_key(samples), field, method.name, repr(sorted(own.items(), key=str)))
        options, measures = once(
            ctx, key, lambda: read_choice(samples, labeled, field, method.Options, own)
        )
        request = {
            **options.to_dict(),
            "method": method.name,
            "num_honeyimages": num_honeyimages,
            "num_pairs": num_pairs,
            "seed": 51,
        }
        masks = exclusion_masks(values["exclude"], hardness, label_errors, earlier)
        select(hardness, labeled.labels, masks, request, measures)


def check_places(ctx: Any, inputs: types.Object, labeled: Any) -> bool:
    """Checks that key and folder are free; whether an interrupted run of this key is resumed."""
    from ..dataset import storage
    from ..dataset.checks import check_key, check_new_folder, check_output_place
    from ..dataset.runs import MARKING, check_new_key, is_complete, made_by

    key = ctx.params.get("honey_key") or questions.free_key(ctx.dataset, "honey")
    check_key(key, "honey_key")
    key_prop = inputs.properties["honey_key"]
    folder_prop = inputs.properties.get("output_dir", key_prop)
    with errors_on(folder_prop):
        folder = storage.output_folder(ctx.dataset, key, ctx.params.get("output_dir") or None)
        check_output_place(folder, labeled.filepaths, "output_dir")
    if folder_prop.invalid:
        return False
    entering = made_by(ctx.dataset, key, MARKING) and not is_complete(ctx.dataset, key)
    if entering or storage.is_ours(folder):
        return True  # killed while it was being entered in the dataset
    with errors_on(key_prop):
        check_new_key(ctx.dataset, key, "honey_key")
    with errors_on(folder_prop):
        check_new_folder(folder, "output_dir")
    return storage.is_ours(storage.partial_dir(folder))
