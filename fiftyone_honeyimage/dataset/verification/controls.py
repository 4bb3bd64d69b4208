"""Random unmarked images that a suspect is asked about after its verdict: the paper's controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F

from ...core.errors import HoneyImageError
from ...core.evidence.controls import advances, compare_with_controls
from ...core.evidence.published import loss_gaps
from ...core.images import read_image
from ...core.ledger.ledger import Ledger
from ...core.limits import NUM_RANDOM
from ...core.suspects import Suspect, load_suspect, query
from ..identity import unmarked
from ..marking.marking import OpenMarking
from ..progress import StageBar
from .suspects import read_predictions

#: Random unmarked images that a suspect at hand is asked about, for the paper's plot
DEFAULT_NUM_RANDOM = 50


def num_controls(is_metered: bool, ledger: Ledger | None, num_random: int | None) -> int:
    """How many random images to ask about: by default some if that costs nothing but time, and there is a plot.

    Raises:
        ParameterError: if it is no whole number
    """
    if num_random is None:
        plotted = ledger is None or not ledger.asks_probes
        return DEFAULT_NUM_RANDOM if plotted and not is_metered else 0
    return NUM_RANDOM.check("num_random", num_random)


def ask_controls(
    opened: OpenMarking,
    suspect: Any,
    model: Suspect,
    classes: Sequence[str],
    num_random: int,
    batch_size: int,
    outputs: str,
    bar: StageBar,
    marked: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """The loss gap of random unmarked images: the paper's comparison, which never decides; and how marked ones compare.

    The proxy's loss is that of the half proxy that has not seen the image, its hardness: the
    out-model has trained on most unmarked images.

    Args:
        marked: by :func:`marked_advances`

    Returns:
        ``ids`` and ``gaps`` (nats) of the samples, or a ``note`` that says why there are none; and of either group of
        marked images how it was ``compared``, where there are enough of all
    """
    if outputs == "labels":
        return {"note": "a suspect that gives labels alone has no loss"}
    if outputs == "losses":
        return {"note": "a loss of the suspect's own has no gap to the proxy's"}
    dataset, config = opened.dataset, opened.marking.config
    hardness, label_field = config["hardness_field"], config["label_field"]
    for name in (hardness, label_field):
        if not dataset.has_field(name):
            return {"note": f"field '{name}' was deleted"}
    view = unmarked(dataset).match(
        (F(hardness) != None) & F(f"{label_field}.label").is_in(list(classes))  # noqa: E711
    )
    asked: Suspect = model
    try:
        if model.held is not None:
            if not isinstance(suspect, str):
                return {"note": "the suspect is given by its answers on the HoneyImages alone"}
            view = view.exists(suspect)
            held = read_predictions(view, "id", suspect, classes)
            if not held:
                return {"note": f"no unmarked image has predictions in field '{suspect}'"}
            asked = load_suspect(predictions=held)
        chosen = view.take(num_random, seed=51)
        ids, labels, losses, images = _readable(chosen, label_field, hardness)
        if not ids:
            return {"note": "no unmarked image with a hardness score can be read"}
        answers = query(
            asked,
            images,
            ids,
            np.array([classes.index(label) for label in labels], dtype=np.int64),
            num_classes=len(classes),
            batch_size=batch_size,
            outputs=outputs,  # type: ignore[arg-type]
            tolerance=None,
            report=lambda _, done, total: bar.report("Querying random images", done, total),
        )
    except HoneyImageError as error:
        return {"note": str(error)}
    usable = ~answers.failed & np.isfinite(answers.losses) & np.isfinite(losses)
    answered = np.flatnonzero(usable)
    expected, found = np.array(losses)[answered], answers.losses[answered]
    gaps = loss_gaps(expected, found)
    compared = {
        group: compared.to_dict()
        for group, values in marked.items()
        if (compared := compare_with_controls(values, advances(expected, found))) is not None
    }
    return {
        "ids": [ids[row] for row in answered],
        "gaps": [float(gap) for gap in gaps],
        **({"compared": compared} if len(compared) == len(marked) > 0 else {}),
    }


def marked_advances(
    rows: Sequence[Mapping[str, Any]], ledger: Ledger, proxy_losses: Mapping[str, float | None]
) -> dict[str, np.ndarray]:
    """What a suspect knows of the released and of the withheld twins; empty where it was asked about other images.

    Args:
        rows: of :func:`..core.pipeline.roles.pair_table`
        ledger: with the coins
        proxy_losses: of the model that the marks were made with, nats, by the original's id
    """
    if ledger.asks_probes:
        return {}
    found: dict[str, np.ndarray] = {}
    for group in ("released", "withheld"):
        expected, losses = [], []
        for row in rows:
            pair, loss = ledger.pairs[row["pair"]], row[f"{group}_loss"]
            side = pair.released_side() if group == "released" else pair.withheld_side()
            known = [proxy_losses.get(image.sample_id) for image in side.asked]
            if row["failed"] or loss is None or not np.isfinite(loss) or None in known:
                continue
            expected.append(float(np.mean([value for value in known if value is not None])))
            losses.append(float(loss))
        found[group] = advances(expected, losses)
    return found


def _readable(
    view: fo.DatasetView, label_field: str, hardness_field: str
) -> tuple[list[str], list[str], list[float], list[np.ndarray]]:
    """Ids, labels, hardness and images of the samples whose file can be read."""
    found: tuple[list[str], list[str], list[float], list[np.ndarray]] = ([], [], [], [])
    names = ["id", "filepath", f"{label_field}.label", hardness_field]
    for sample_id, path, label, hardness in zip(*view.values(names), strict=True):
        try:
            image = read_image(path)
        except HoneyImageError:
            continue  # any image serves
        for values, value in zip(found, (sample_id, label, hardness, image), strict=True):
            values.append(value)  # type: ignore[attr-defined]
    return found
