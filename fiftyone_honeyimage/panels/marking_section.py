"""The protection panel's section on a marking: what it is, what became stale, how visible it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.operators.types as types

from ..app.layout import alert, button, button_row, show_plot
from ..app.words import table
from ..core.errors import HoneyImageError
from . import marking_figures as figures
from .choices import choose_run, dropdown
from .protect_runs import explain_missing, keys, load_marking, num_originals

if TYPE_CHECKING:
    from ..core.ledger.ledger import Ledger
    from .protect_panel import ProtectPanel

POINT_FIELDS = ("pair", "linf", "psnr", "ssim", "worst_window", "lpips", "proxy_loss")


def show_marking(ctx: Any, panel: types.Object, on: ProtectPanel) -> dict[str, Any] | None:
    """Shows the chosen marking, and returns it; None if there is none of which more can be shown."""
    panel.md("##### Marking", name="marking_title")
    known = keys(ctx, "marking")
    if not known:
        text = (
            "*Generate HoneyImages* chooses images that models learn by heart, in pairs, and adds what a release would hold "
            "of them beside their originals: as they are, or changed too little to be seen. No original is touched."
        )
        if not keys(ctx, "hardness"):
            text += " It needs hardness first."
        panel.md(f"**This dataset is not marked yet.** {text}", name="no_marking")
        return None
    choose_run(ctx, panel, "honey_key", "Marking", known, on.on_choose_marking)
    run = load_marking(ctx)
    if run is None:
        explain_missing(ctx, panel, "marking", "honey_key", "Generate HoneyImages")
        _buttons(ctx, panel, on, None)
        return None
    config, results = run["config"], run["results"]
    panel.md(table(("Figures", ""), figures.marking_rows(config, results)), name="marking_figures")
    _show_ledger(panel, on, run)
    if not ctx.dataset.has_field(run["key"]):
        panel.md(
            f"**Field '{run['key']}' was deleted since**, so that HoneyImages cannot be told from "
            "other samples. Delete the run with *Delete…* and generate anew.",
            name="marking_stale",
        )
        _buttons(ctx, panel, on, run)
        return None
    points = _points(ctx.dataset, run["key"])
    for number, (label, text) in enumerate(_stale(ctx.dataset, run, points)):
        alert(panel, f"marking_stale_{number}", label, text)
    _buttons(ctx, panel, on, run)
    _show_note(panel, on, run)
    run["points"] = points
    return run


def show_visibility(
    ctx: Any, panel: types.Object, on: ProtectPanel, run: Mapping[str, Any]
) -> None:
    """Shows how visible a marking is, what survives of it, and what other budgets would give."""
    results = run["results"]
    panel.md("##### Visibility and effect", name="visibility_title")
    panel.md(
        figures.visibility_table(results.get("metrics") or {}, results.get("worst") or {}),
        name="visibility_figures",
    )
    if results.get("lpips_note"):
        panel.md(f"LPIPS was left out: {results['lpips_note']}", name="lpips_note")
    survival = results.get("survival")
    if survival:
        panel.md(
            table(("After", "What survives"), figures.survival_rows(survival)), name="survival"
        )
    _show_trade_off(ctx, panel, on, results.get("trade_off"))
    _show_points(panel, on, run["points"])


def _buttons(
    ctx: Any, panel: types.Object, on: ProtectPanel, run: Mapping[str, Any] | None
) -> None:
    """What can be done with a marking; with one that cannot be read, only deleting it."""
    row = button_row(panel, "marking_actions")
    if run is not None:
        on.show_marking_button(ctx, row, "show_marking", run["key"])
        button(row, "rename_marking", "Rename…", on.rename_marking)
    button(row, "delete_marking", "Delete…", on.delete_marking)


def _show_note(panel: types.Object, on: ProtectPanel, run: Mapping[str, Any]) -> None:
    from ..dataset.management.notes import from_config

    note = from_config(run["config"])
    about = "Kept with the run; never part of a release"
    if note.text:
        about = f"By {note.user or 'somebody'}, {note.time:%Y-%m-%d %H:%M} UTC"
    panel.str(
        "marking_note",
        default=note.text,
        label="Note",
        description=about,
        view=types.FieldView(componentsProps={"field": {"multiline": True, "minRows": 1}}),
    )
    button(button_row(panel, "note_actions"), "save_note", "Save note", on.save_note)


def _show_trade_off(
    ctx: Any, panel: types.Object, on: ProtectPanel, trade_off: Mapping[str, Any] | None
) -> None:
    measures = figures.trade_off_measures(trade_off) if trade_off else {}
    if not trade_off or not measures:
        panel.md(
            "**What other budgets ε would give was not measured:** the run was too short to spend a "
            "tenth of its time on it, was asked not to, or is of a method that has no such budget.",
            name="trade_off_empty",
        )
        return
    chosen = ctx.panel.get_state("measure")
    measure = chosen if chosen in measures else next(iter(measures))
    if len(measures) > 1:
        dropdown(ctx, panel, "measure", "Visibility as", measures, measure, on.on_choose_measure)
    show_plot(
        panel,
        "trade_off",
        "What another ε would give: loss gap against visibility",
        figures.trade_off_traces(trade_off, measure),
        figures.trade_off_layout(measure),
    )
    panel.md(figures.trade_off_text(trade_off), name="trade_off_text")


def _show_points(
    panel: types.Object, on: ProtectPanel, points: Sequence[Mapping[str, Any]]
) -> None:
    traces = figures.visibility_traces(figures.thin(points))
    if not traces:
        if points:
            panel.md(
                "**No pixel differs from the originals**: there is nothing to see, and nothing that a detector could find. "
                "The pairs alone carry the evidence.",
                name="visibility_empty",
            )
        return
    label = "Each HoneyImage: click one to see it beside its original"
    if len(points) > figures.MAX_POINTS:
        label += f" ({figures.MAX_POINTS:,} of {len(points):,} drawn)"
    layout = figures.visibility_layout(len(traces))
    show_plot(panel, "visibility", label, traces, layout, on_click=on.on_click_point)


def _points(dataset: fo.Dataset, key: str) -> list[dict[str, Any]]:
    """Every HoneyImage that is still in the dataset; the coins play no part."""
    from ..dataset.identity import honeyimages

    names = ("source", *POINT_FIELDS)
    honey = honeyimages(dataset, key).sort_by(f"{key}.source")
    columns = honey.values(["id", "filepath", *(f"{key}.{name}" for name in names)])
    rows = zip(*columns, strict=True)
    return [dict(zip(("id", "filepath", *names), row, strict=True)) for row in rows]


def _stale(
    dataset: fo.Dataset, run: Mapping[str, Any], points: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """What changed since the marking was made: a label and what to do, each."""
    expected = len(run["results"]["images"])
    gone = expected - len(points)
    if gone > 0:
        yield (
            f"{gone:,} of {expected:,} HoneyImages were deleted from the dataset",
            "Their files and the ledger still hold them, and a release still does; they are "
            "missing here only. Generate a new marking to have all of them.",
        )
    images = run["results"]["images"]
    names = ["filepath", "id"]
    label_field = run["config"]["label_field"]
    if dataset.has_field(label_field):
        names.append(f"{label_field}.label")
    originals = dataset.select([image["sample"] for image in images if image["sample"]])
    paths, sources, *labels = originals.values(names)
    if len(sources) < expected:
        yield (
            f"{expected - len(sources):,} of {expected:,} marked originals were deleted",
            "A release would miss their HoneyImages. Add the samples again from a backup, or "
            "generate a new marking.",
        )
    added = num_originals(dataset) - run["results"].get("num_images", 0)
    if added > 0:
        yield (
            f"{added:,} samples are not covered by this marking",
            "They were added since, could not be read, or lay outside the view that was marked. "
            "A release holds them as they are. To mark some of them, compute hardness again and "
            "generate a new marking.",
        )
    if not labels:
        yield (
            f"Label field '{label_field}' was deleted",
            "A release needs the labels that the images were marked with. Restore the field, or "
            "generate a new marking with another one.",
        )
    else:
        of_honey = {image["honey"]: image for image in images}
        ids, own = dataset.select(list(of_honey)).values(names[1:])
        marked_as = {
            of_honey[i]["sample"]: of_honey[i].get("source_label", label)
            for i, label in zip(ids, own, strict=True)
        }
        relabelled = sum(
            marked_as.get(source, label) != label
            for source, label in zip(sources, labels[0], strict=True)
        )
        if relabelled:
            yield (
                f"{relabelled:,} marked originals have another label now",
                "A release needs the labels that they were marked with. Restore them, or generate a "
                "new marking.",
            )
    for what, files in (
        ("HoneyImage", [point["filepath"] for point in points]),
        ("marked original", paths),
    ):
        missing = [path for path in files if not os.path.isfile(path)]
        if missing:
            yield (
                f"{len(missing):,} {what} files are missing",
                f"The first is `{missing[0]}`. Put them back before a release or a verification.",
            )


def _show_coins(panel: types.Object, on: ProtectPanel, ledger: Ledger) -> None:
    """Says what a marking waits for whose coins a public round decides; nothing of others."""
    from ..core.ledger.beacon import now
    from ..core.ledger.relays import clock
    from ..core.pipeline.coins import publish_by

    beacon = ledger.beacon
    if beacon is None:
        return
    if not ledger.pending:
        text = (
            f"They come from round {beacon.round:,} of {beacon.chain.name}, which came out at {clock(beacon.coins_at)}: "
            "nobody chose them, if the commitment was public before."
        )
        alert(panel, "coins", "The coins are drawn", text, "info")
        return
    if now() < beacon.coins_at:
        label = f"Published by {clock(publish_by(beacon))}, coins at {clock(beacon.coins_at)}"
        text = (
            f"Publish or time-stamp the commitment now: {ledger.commitment}. The run that made the marking goes on by itself "
            "when the public round is out."
        )
    else:
        label = "The coins are not drawn yet"
        text = (
            f"The public round is out since {clock(beacon.coins_at)}. If no run is waiting for it any more, fetch it with "
            "*Draw coins…*, or paste it there. Until then nothing can be released."
        )
    alert(panel, "coins", label, text, "warning")
    button(button_row(panel, "coins_actions"), "draw_coins", "Draw coins…", on.draw_coins)


def _show_ledger(panel: types.Object, on: ProtectPanel, run: Mapping[str, Any]) -> None:
    """Says where the ledger is, and whether it is whole. Nothing that it holds is shown."""
    from ..core.ledger.ledger import load_ledger

    path = Path(run["config"]["ledger_path"])
    if not path.is_file():
        label, severity = "The ledger is missing", "error"
        text = (
            f"It is not at `{path}`. Without it nothing can be released or verified: put it back, or "
            "give its new place once with *Attach HoneyImage marking*."
        )
    else:
        try:
            ledger = load_ledger(path, commitment=run["config"]["commitment"])
        except (HoneyImageError, OSError) as error:
            label, severity = "The ledger cannot be used", "error"
            text = f"`{path}`: {error}. Restore it from a backup."
        else:
            label, severity = "The ledger is in its place and matches the commitment", "info"
            text = f"`{path}`. Keep it secret, and keep a backup."
            _show_coins(panel, on, ledger)
    alert(panel, "ledger", label, text, severity)
