"""The protection panel's comparison: original, HoneyImage and their amplified difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types
from fiftyone import ViewField as F

from ..app.layout import button, button_row
from ..core.errors import HoneyImageError
from . import pictures
from .marking_figures import caption
from .marking_section import POINT_FIELDS
from .problems import nothing_to_protect
from .protect_runs import keys

if TYPE_CHECKING:
    from .protect_panel import ProtectPanel

_PICTURES = {
    "original": "Original",
    "honeyimage": "HoneyImage",
    **{f"difference_{factor}": f"Difference ×{factor}" for factor in pictures.FACTORS},
}


def show_comparison(ctx: Any, panel: types.Object, on: ProtectPanel, key: str) -> None:
    """Shows the pictures of the sample at hand, four beside each other or two in turns."""
    twin = at_hand(ctx, key)
    if twin is None:
        text = "There is no pair of images to compare: the HoneyImages or their originals were deleted."
        if ctx.panel.get_state("sample") is not None:
            text = (
                "This sample is not part of the marking, or its original or HoneyImage was "
                "deleted. Choose one that *Show all HoneyImages* shows."
            )
        panel.md(text, name="comparison_empty")
        return
    try:
        _read_pair(twin)
    except HoneyImageError as error:
        panel.md(
            f"**The images cannot be compared:** {error}. Put the file back, or choose another sample.",
            name="comparison_broken",
        )
        return
    panel.md(caption(twin), name="comparison_caption")
    shown = ctx.panel.get_state("flip")
    row = button_row(panel, "comparison_actions")
    if shown in ("original", "honeyimage"):
        button(row, "flip", "Flip", on.flip, main=True)
        button(row, "unflip", "Side by side", on.unflip)
    else:
        button(row, "flip", "Flip between them", on.flip)
    other = _PICTURES[_other(ctx, twin)].replace("Original", "original")
    button(row, "open_full_size", f"Open the {other} at full size", on.open_full_size)

    if shown in ("original", "honeyimage"):
        panel.md(f"**{_PICTURES[shown]}**", name="flip_title")
        panel.img(
            "flip_image",
            width="512px",
            alt_text=f"{_PICTURES[shown]} of sample {twin['source']}, large",
            on_click=on.flip,
        )
        return
    # Two a row: a row of four would be wider than the panel, which then scrolls sideways
    for number in range(0, len(_PICTURES), 2):
        row = panel.h_stack(f"pictures_{number // 2}", gap=2, align_x="left")
        for name in list(_PICTURES)[number : number + 2]:
            row.img(
                name,
                label=_PICTURES[name],
                width="220px",
                alt_text=f"{_PICTURES[name]} of sample {twin['source']}",
                on_click=on.show_sample,
            )


def send_pictures(ctx: Any) -> None:
    """Sends the pictures of the sample at hand, if there are any."""
    key = ctx.panel.get_state("honey_key")
    if nothing_to_protect(ctx) is not None or key not in keys(ctx, "marking"):
        return
    twin = at_hand(ctx, key)
    if twin is None:
        return
    try:
        pair = _read_pair(twin)
    except HoneyImageError:
        return  # said where the pictures would be
    urls = pictures.comparison(*pair)
    shown = ctx.panel.get_state("flip")
    if shown in ("original", "honeyimage"):
        ctx.panel.set_data("flip_image", urls[shown])
        return
    for number, name in enumerate(_PICTURES):
        ctx.panel.set_data(f"pictures_{number // 2}.{name}", urls[name])


def at_hand(ctx: Any, key: str) -> dict[str, Any] | None:
    """The HoneyImage of the sample at hand, with its original; None if there is none."""
    if not ctx.dataset.has_field(key):
        return None
    from ..dataset.identity import honeyimages, recorded_images

    sample = ctx.panel.get_state("sample")
    if sample is None:
        view = honeyimages(ctx.dataset, key).sort_by([(f"{key}.pair", 1), (f"{key}.source", 1)])
        # Images without a twin sort first: they have no number
        paired = view.match(F(f"{key}.pair") != None)  # noqa: E711 (a query)
        view = paired if len(paired) else view
        sample = next(iter(view.limit(1).values("id")), None)
    images = recorded_images(ctx.dataset, key)
    image = next((i for i in images if sample and sample in (i["honey"], i["sample"])), None)
    if image is None or image["sample"] is None:
        return None
    pair = ctx.dataset.select([image["sample"], image["honey"]])
    names = ("id", "filepath", "source", *POINT_FIELDS)
    columns = pair.values(["id", "filepath", *(f"{key}.{name}" for name in names[2:])])
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)}
    if len(rows) < 2:
        return None
    return {
        **rows[image["honey"]],
        "source": image["sample"],
        "original": rows[image["sample"]]["filepath"],
        "original_id": image["sample"],
    }


def open_other(ctx: Any, twin: Mapping[str, Any]) -> None:
    """Opens the picture that is not open yet, at its full size: the arrow keys then flip between both."""
    name = _other(ctx, twin)
    ctx.ops.open_sample(id=twin["id"] if name == "honeyimage" else twin["original_id"])


def _other(ctx: Any, twin: Mapping[str, Any]) -> str:
    return "original" if ctx.current_sample == twin["id"] else "honeyimage"


def _read_pair(twin: Mapping[str, Any]) -> tuple[Any, Any]:
    """The pixels of an original and its HoneyImage.

    Raises:
        ImageError: if one of them cannot be read, or was replaced by another
    """
    from ..core.errors import ImageError
    from ..core.images import read_image

    original, marked = read_image(twin["original"]), read_image(twin["filepath"])
    if original.shape != marked.shape:
        raise ImageError(f"'{twin['original']}' no longer has the size of its HoneyImage")
    return original, marked


def show_pair(ctx: Any, key: str, source: str) -> None:
    """Shows an original and its HoneyImage in the grid."""
    from ..dataset.identity import recorded_images

    found = [i for i in recorded_images(ctx.dataset, key) if i["sample"] == source]
    ids = [image[name] for image in found for name in ("sample", "honey")]
    ctx.ops.set_view(view=ctx.dataset.select(ids, ordered=True))
