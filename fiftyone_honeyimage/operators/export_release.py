"""Export release: the dataset as the world may see it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import export_release as run
from ..app.words import table
from ..core.printing import time_text
from . import calls, cost_question, placements, questions, results
from .form_errors import blocking, errors_on, errors_on_named, is_blocked
from .form_parts import dropdown, form, multiple_choice, once, section, view_key

if TYPE_CHECKING:
    from ..core.ledger.ledger import Ledger
    from ..dataset.marking.marking import Marking

_DATASET_TYPE = "ImageClassificationDirectoryTree"

_DATASET_TYPES = {
    "ImageClassificationDirectoryTree": "A folder for each class",
    "FiftyOneImageClassificationDataset": "Images beside a JSON file with their labels",
    "FiftyOneDataset": "FiftyOne's own format, with fresh ids",
    "COCODetectionDataset": "COCO, each label as a box around the whole image",
    "CSVDataset": "Images beside a CSV file",
}

_FURTHER = ("reencode", "names", "fields")


class ExportRelease(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.export_release`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "export_release",
            "Export release",
            "Step 3: exports the dataset with HoneyImages in place of their originals, and without the "
            "withheld twins",
            # What is released cannot be taken back
            risk=types.RiskLevel.HIGH,
            long=True,
        )

    def __call__(
        self, samples: fo.core.collections.SampleCollection, *args: Any, **kwargs: Any
    ) -> Any:
        """Executes or delegates this operator from Python.

        Args:
            samples, args, kwargs: see :func:`fiftyone_honeyimage.export_release` and :func:`.calls.call_like`;
                ``dataset_type`` may be the name of a type
        """
        return calls.call_like(run, self, samples, *args, **kwargs)

    def resolve_placement(self, ctx: Any) -> types.Placement:
        from ..dataset.runs import MARKING

        return placements.placement(
            "Export release", "release", placements.unavailable(ctx, MARKING)
        )

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "Export release")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"Release of '{ctx.params.get('honey_key')}'"

    def execute(self, ctx: Any) -> dict[str, Any]:
        params = calls.given(ctx, run)
        params["dataset_type"] = _dataset_type(ctx)
        params.setdefault("export_dir", _proposed_folder(ctx, params["honey_key"]))
        report = run(ctx.target_view(), progress=calls.progress(ctx), **params)
        # Without the digest of its files: results are kept in the database, and whoever sees both twins of
        # every pair there could try all coins against it
        result = {**asdict(report), "export_dir": str(report.export_dir)}
        del result["release_digest"]
        return result

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(
            ctx, lambda result: results.output(_summary(result), "The release is exported")
        )


def _summary(result: dict[str, Any]) -> str:
    rows = [
        ("Folder", f"`{result['export_dir']}`"),
        ("Images", f"{result['num_images']:,}"),
        ("HoneyImages among them", f"{result['num_honeyimages']:,}"),
        ("Images withheld", f"{result['num_withheld']:,}"),
        ("Time", time_text(result["seconds"])),
    ]
    if result["recipient"]:
        rows.insert(0, ("For", result["recipient"]))
    for folder, other, number in result["comparable"]:
        rows.append(
            (f"Who has that of {other} too can tell {number} images apart", f"`{folder}`"),
        )
    if result["num_relabelled"]:
        rows.append(("Images with another label than their originals", result["num_relabelled"]))
    if result["num_other_honeyimages"]:
        rows.append(("Other markings' HoneyImages left out", result["num_other_honeyimages"]))
    if result["num_left_out"]:
        rows.append(
            (
                "Originals of other markings, copies and test images, left out",
                result["num_left_out"],
            )
        )
    for folder in result["exposed_by"]:
        rows.append(
            (
                "Was exported before this marking, with its images unmarked: who has both can find them",
                f"`{folder}`",
            )
        )
    return (
        f"{table(('Release', ''), rows)}\n\n"
        "**Before you publish the folder,** publish or time-stamp the commitment, which binds "
        f"you to the ledger without giving it away:\n\n`{result['commitment']}`\n\n"
        "**Next:** when you suspect a model, run *Verify a model*."
    )


def _fill(ctx: Any, inputs: types.Object) -> None:
    samples = questions.target(ctx, inputs, "Release", default_target="DATASET")
    if samples is None:
        return
    marking = questions.marking(ctx, inputs)
    if marking is None:
        return
    ledger = questions.ledger(ctx, inputs, marking)
    labels = _label_field(ctx, inputs, samples, marking)
    labeled = None if labels is None else questions.labeled_samples(ctx, inputs, samples, labels)
    if labels is None or labeled is None:
        return
    _export_dir(ctx, inputs, marking, labeled)
    _formats(ctx, inputs, samples, labels, _changes_labels(marking))
    if ledger is not None:
        ledger = _of_recipient(ctx, inputs, marking, ledger)
    if ledger is None or is_blocked(inputs):
        return

    from ..core.pipeline.run_cost import release_cost
    from ..dataset.marking.marking import OpenMarking
    from ..dataset.release.checks import (
        check_labels,
        check_reencode,
        check_view,
        names_of_release,
    )
    from ..dataset.release.files import check_names, count_relabelled, released_files
    from ..dataset.release.history import check_against_releases
    from ..dataset.release.withheld import check_all_known, to_release

    values = calls.values(ctx, run)
    kind = _dataset_type(ctx)
    names = names_of_release(values["names"], _changes_labels(marking))
    folder = Path(values.get("export_dir") or _proposed_folder(ctx, marking.honey_key)).absolute()
    with blocking(inputs, "These samples cannot be released"):
        opened = OpenMarking(ctx.dataset, marking, ledger)
        check_against_releases(opened, values["reencode"], names)
        ledger = opened.in_dataset
        if labels == marking.config["label_field"]:
            check_labels(labeled, ledger)
        check_reencode(values["reencode"], marking)
        check_view(labeled, ledger)
        check_all_known(ctx.dataset, labeled.filepaths)
        labeled = to_release(labeled, opened)
        once(
            ctx,
            ("files", view_key(samples), marking.honey_key, marking.commitment),
            lambda: released_files(labeled, opened),
        )
        once(
            ctx,
            ("names", view_key(samples), labels, kind.__name__, names, str(folder)),
            lambda: check_names(kind, labeled, names, folder),
        )
    num_withheld, num_relabelled = len(ledger.withheld_images()), count_relabelled(ledger)
    if num_relabelled:
        inputs.view(
            "relabelled",
            types.AlertView(
                label=f"{num_relabelled:,} images of the release get another label",
                description="The method of this marking works with wrong labels: whoever trains on the release learns "
                "them, and whoever looks at these images may see that the label does not fit. The dataset keeps "
                "its own labels.",
                severity="warning",
            ),
        )
    cost_question.cost(
        inputs,
        release_cost(labeled, num_withheld),
        [
            f"**{len(labeled) - num_withheld:,} images** in the release, "
            f"{len(ledger.released_images()):,} of them HoneyImages",
            f"**{num_withheld:,} images** withheld",
            "of each image its pixels, label, place in the order, "
            + ("name" if names == "keep" else "new number")
            + "".join(f", `{name}`" for name in values["fields"])
            + " and nothing else",
        ],
        None,
    )


def _of_recipient(
    ctx: Any, inputs: types.Object, marking: Marking, ledger: Ledger
) -> Ledger | None:
    """Asks whose release it is, where each recipient has his own; the ledger of that, None with the reason in the form."""
    chosen = ctx.params.get("recipient")
    whose = None if chosen in (None, "") else str(chosen)
    if not marking.recipients:
        with blocking(inputs, "This marking cannot be released"):
            return ledger.for_recipient(whose)
        return None
    prop = dropdown(
        inputs,
        "recipient",
        marking.recipients,
        label="Recipient",
        description="Whose release it is. It holds his images of the tracing pairs, which tell it from everybody else's",
    )
    with errors_on(prop):
        return ledger.for_recipient(whose)
    return None


def _dataset_type(ctx: Any) -> type:
    """The dataset type that was chosen by its name."""
    from ..dataset.release.formats import dataset_type_named

    return dataset_type_named(ctx.params.get("dataset_type") or _DATASET_TYPE)


def _changes_labels(marking: Any) -> bool:
    from ..core.methods import METHODS

    method = METHODS.get(marking.config["method"])
    return method is not None and method.changes_labels


def _formats(
    ctx: Any, inputs: types.Object, samples: Any, label_field: str, changes_labels: bool
) -> None:
    """Asks how the release is written."""
    from ..dataset.release.checks import check_policies, names_of_release
    from ..dataset.release.fields import check_fields
    from ..dataset.release.formats import DATASET_TYPES, check_dataset_type

    prop = dropdown(
        inputs,
        "dataset_type",
        [kind.__name__ for kind in DATASET_TYPES],
        _DATASET_TYPES,
        default=_DATASET_TYPE,
        label="Dataset type",
    )
    kind = None
    with errors_on(prop):
        kind = _dataset_type(ctx)
    if not section(ctx, inputs, run, _FURTHER):
        return
    defaults = calls.sdk_defaults(run)
    dropdown(
        inputs,
        "reencode",
        {
            "marked": "Copies unmarked images byte for byte",
            "all": "Encodes every image anew, so that no encoder tells HoneyImages apart",
        },
        default=defaults["reencode"],
        label="Encoding",
    )
    dropdown(
        inputs,
        "names",
        {"renumber": "Numbers all files anew, at random, as their names may not fit the new labels"}
        if changes_labels
        else {
            "keep": "Leaves names as they are: withheld images leave gaps in numbered names",
            "renumber": "Numbers all files anew, in their order",
        },
        default=names_of_release(defaults["names"], changes_labels),
        label="File names",
    )
    prop = multiple_choice(
        inputs,
        "fields",
        samples.get_field_schema(),
        default=defaults["fields"],
        label="Further fields",
        description="Carried along into a FiftyOneDataset or CSVDataset; a HoneyImage gets its "
        "original's values",
    )
    values = calls.values(ctx, run)
    with errors_on(prop):
        if kind is not None:
            check_dataset_type(kind, values["fields"])
            check_fields(samples, values["fields"], label_field, kind)
    with errors_on_named(inputs, prop):
        check_policies(values["reencode"], values["names"])


def _label_field(ctx: Any, inputs: types.Object, samples: Any, marking: Any) -> str | None:
    from ..dataset.checks import check_label_field, classification_fields

    name = ctx.params.get("label_field") or marking.config["label_field"]
    prop = dropdown(
        inputs,
        "label_field",
        classification_fields(samples),
        default=marking.config["label_field"],
        label="Label field",
        description="The labels of the release",
    )
    with errors_on(prop):
        check_label_field(samples, name)
    return None if prop.invalid else name


def _export_dir(ctx: Any, inputs: types.Object, marking: Any, labeled: Any) -> None:
    from ..dataset.release.checks import release_folder

    proposed = _proposed_folder(ctx, marking.honey_key)
    prop = inputs.str(
        "export_dir",
        label="Folder of the release",
        description=f"A new folder. Empty: `{proposed}`",
    )
    with errors_on(prop):
        release_folder(ctx.params.get("export_dir") or proposed, labeled, marking)


def _proposed_folder(ctx: Any, honey_key: str) -> str:
    return str(questions.new_path(ctx, "honeyimage-releases", honey_key))
