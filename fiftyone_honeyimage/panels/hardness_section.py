"""The protection panel's first section: how hard images are, by class, and which labels look wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.operators.types as types
from fiftyone import ViewField as F
from fiftyone.operators.cache import execution_cache

from ..app.layout import alert, button, button_row, show_plot
from ..app.words import table, weakness_text
from . import hardness_figures as figures
from .choices import choose_run, dropdown
from .protect_runs import explain_missing, keys, label_fields, load_hardness, num_originals

if TYPE_CHECKING:
    from .protect_panel import ProtectPanel


def show_hardness(ctx: Any, panel: types.Object, on: ProtectPanel) -> None:
    """Shows the chosen hardness run."""
    panel.md("##### Hardness", name="hardness_title")
    known = keys(ctx, "hardness")
    if not known:
        panel.md(
            "**No hardness has been computed yet.** Hard images make the best HoneyImages, "
            "because a model only knows them if it was trained on them. *Compute hardness* trains "
            "two small proxy models on half of the images each, and shows its cost first.",
            name="no_hardness",
        )
        return
    choose_run(ctx, panel, "hardness_key", "Hardness run", known, on.on_choose_hardness)
    run = load_hardness(ctx)
    if run is None:
        explain_missing(ctx, panel, "hardness", "hardness_key", "Compute hardness")
        _buttons(panel, on, num_errors=None)
        return
    rows = figures.hardness_rows(run["results"], run["config"])
    panel.md(table(("Figures", ""), [*rows, _defaults(run)]), name="hardness_figures")
    missing = [
        name for name in (run["field"], run["label_field"]) if not ctx.dataset.has_field(name)
    ]
    scores = {} if missing else _scores(ctx, run)
    stale = None
    if missing:
        stale = (
            f"**Field '{missing[0]}' was deleted since.** The histogram needs it; compute hardness "
            "again to bring it back."
        )
    elif not scores["num_scored"]:
        stale = (
            f"**Field '{run['field']}' is empty.** The scored samples were deleted, or their scores "
            "were; compute hardness again."
        )
    if stale is not None:
        panel.md(stale, name="hardness_stale")
        _buttons(panel, on, num_errors=None)
        return
    _show_unscored(ctx, panel, scores["num_scored"])
    fields = label_fields(ctx)
    if len(fields) > 1:
        choices, handler = {name: name for name in fields}, on.on_choose_label_field
        dropdown(ctx, panel, "label_field", "Classes of", choices, run["label_field"], handler)
    traces = figures.histogram_traces(scores["counts"], scores["low"], scores["high"])
    show_plot(
        panel,
        "hardness_histogram",
        "Hardness by class: click a bar, or drag over several, to see their images",
        traces,
        figures.histogram_layout(len(traces)),
        on_click=on.on_click_bar,
        on_selected=on.on_select_bars,
    )
    weakness = weakness_text(run["results"])
    if weakness:
        panel.md(weakness, name="weak_proxies")
    if scores["num_errors"] is not None and run["results"]["labels_judged"]:
        panel.md(
            figures.label_error_text(
                scores["num_errors"], scores["num_hard_errors"], scores["num_hardest"]
            ),
            name="label_errors",
        )
    _buttons(panel, on, num_errors=scores["num_errors"])


def _buttons(panel: types.Object, on: ProtectPanel, num_errors: int | None) -> None:
    row = button_row(panel, "hardness_actions")
    if num_errors:
        button(row, "show_label_errors", "Show suspected label errors", on.show_label_errors)
    button(row, "show_hardest", "Show hardest", on.show_hardest)
    button(row, "delete_hardness", "Delete…", on.delete_hardness)


def _defaults(run: Mapping[str, Any]) -> tuple[str, str]:
    """What *Generate HoneyImages* would make of these images unless told otherwise."""
    from ..core.methods import DEFAULT_METHOD
    from ..core.methods.selection import default_num_pairs

    count = run["results"]["num_images"]
    pairs = default_num_pairs(count)
    images = DEFAULT_METHOD.default_num_honeyimages(count, pairs)
    return (
        "proposed marking",
        f"{images + pairs:,} candidates: {images:,} HoneyImages in a release, "
        f"{pairs:,} of them with a withheld twin",
    )


def _show_unscored(ctx: Any, panel: types.Object, num_scored: int) -> None:
    unscored = num_originals(ctx.dataset) - num_scored
    if unscored > 0:
        alert(
            panel,
            "hardness_stale",
            f"{unscored:,} samples have no score",
            "They were added since, could not be read, or lay outside the view that was scored. They "
            "cannot become HoneyImages until hardness is computed again.",
        )


def hardest_view(ctx: Any) -> fo.DatasetView | None:
    """Every scored image, the hardest first; None without scores."""
    run = load_hardness(ctx)
    if run is None or not ctx.dataset.has_field(run["field"]):
        return None
    return ctx.dataset.exists(run["field"]).sort_by(run["field"], reverse=True)


def label_error_view(ctx: Any) -> fo.DatasetView | None:
    """The suspected label errors, the hardest first; None if they are not known."""
    run = load_hardness(ctx)
    if run is None or not ctx.dataset.has_field(run["errors_field"]):
        return None
    errors = ctx.dataset.match(F(run["errors_field"]) == True)  # noqa: E712 (a query)
    return errors.sort_by(run["field"], reverse=True)


def bars_view(ctx: Any, bars: Sequence[Any]) -> fo.DatasetView | None:
    """The images of some bars, the hardest first; None if none of them is there.

    ``bars`` are their ids, see :func:`.hardness_figures.parse_bar`.
    """
    run = load_hardness(ctx)
    parsed = [found for found in map(figures.parse_bar, bars) if found is not None]
    if not parsed or run is None:
        return None
    if not (ctx.dataset.has_field(run["field"]) and ctx.dataset.has_field(run["label_field"])):
        return None
    scores = _scores(ctx, run)
    if not scores["num_scored"]:
        return None
    classes = figures.shown_classes(scores["counts"])
    label = F(f"{run['label_field']}.label")
    number_of = _bar_number(run["field"], scores["low"], scores["high"])
    chosen = []
    for position in sorted({position for _, position in parsed}, key=str):
        if position is None:
            of_class = ~label.is_in(classes)
        elif position < len(classes):
            of_class = label == classes[position]
        else:
            continue
        numbers = sorted({number for number, place in parsed if place == position})
        chosen.append(of_class & number_of.is_in(numbers))
    if not chosen:
        return None
    view = ctx.dataset.match((F(run["field"]) != None) & F.any(chosen))  # noqa: E711 (a query)
    return view.sort_by(run["field"], reverse=True)


def _scores(ctx: Any, run: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`_score_counts` found, with (class, number of the bar) → images."""
    found = _score_counts(ctx, *_version(ctx.dataset, run))
    counts = {(name, number): count for name, number, count in found.get("counts", ())}
    return {**found, "counts": counts}


def _version(dataset: fo.Dataset, run: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a hardness run, and what changes whenever a sample or the run does."""
    last = dataset.sort_by("last_modified_at", reverse=True).limit(1).values("last_modified_at")
    return (
        run["field"],
        run["label_field"],
        run["errors_field"] if dataset.has_field(run["errors_field"]) else "",
        str(dataset._doc.id),
        str(run["config"]["timestamp"]),
        str(dataset.count()),
        str(last),
    )


@execution_cache(
    residency="ephemeral",
    max_size=16,
    key_fn=lambda ctx, *version: list(version),
)
def _score_counts(
    ctx: Any, field: str, label_field: str, errors_field: str, *version: str
) -> dict[str, Any]:
    """Counts hardness by class and bar, and suspected label errors, in the database.

    What comes back does not grow with the number of samples. It is counted once for each version.
    """
    dataset = ctx.dataset
    scored = dataset.match(F(field) != None)  # noqa: E711 (a query)
    (low, high), hard, num_scored = scored.aggregate(
        [fo.Bounds(field), fo.Quantiles(field, 0.9), fo.Count()]
    )
    if not num_scored:
        return {"num_scored": 0}
    number = _bar_number(field, low, high).to_string()
    label = F(f"{label_field}.label").if_else(F(f"{label_field}.label"), "")
    counts: list[list[Any]] = []  # JSON-safe, as the cache needs it
    for value, count in scored.count_values(number.concat("/", label)).items():
        bar, _, name = value.partition("/")
        counts.append([name, int(float(bar)), count])
    found: dict[str, Any] = {
        "num_scored": num_scored,
        "low": low,
        "high": high,
        "counts": counts,
        "num_errors": None,
    }
    if errors_field:
        is_hard = F(field) >= hard
        errors = scored.match(F(errors_field) == True)  # noqa: E712 (a query)
        found["num_errors"] = errors.count()
        found["num_hard_errors"] = errors.match(is_hard).count()
        found["num_hardest"] = scored.match(is_hard).count()
    return found


def _bar_number(field: str, low: float, high: float) -> Any:
    """The number of the bar that a score belongs to: the plot and a click agree to the last sample."""
    number = ((F(field) - low) / figures.bin_width(low, high)).floor()
    return number.min(figures.NUM_BINS - 1)
