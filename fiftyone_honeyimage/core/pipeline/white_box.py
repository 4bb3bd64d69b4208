"""Makes a white-box suspect for a radioactive marking, from its ledger and folder."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..checkpoints import load_checkpoint
from ..device import choose_device
from ..errors import ParameterError
from ..ledger.ledger import Ledger
from ..methods.carriers import carrier_of
from ..methods.out_model import thumbnails
from ..models import PROXIES, TORCHVISION_PREFIX, build_model
from ..models.last_layer import last_layer
from ..suspects import Preprocessing
from ..suspects.white_box import WhiteBoxSuspect
from .surroundings import Surroundings

#: Ordinary images on which the features of two models are compared
NUM_ORDINARY = 1000


def white_box_suspect(
    ledger: Ledger,
    folder: Path,
    around: Surroundings,
    model: nn.Module,
    preprocessing: Preprocessing,
    *,
    device: str | None,
    name: str | None,
) -> WhiteBoxSuspect:
    """The suspect, ready to be verified.

    Raises:
        ParameterError: if the marking has no carriers, its proxy cannot be built again, or there are no ordinary images
        SuspectError: if the model is no module
    """
    classes, proxy = list(ledger.header["classes"]), str(ledger.header.get("proxy"))
    sides = [side for pair in ledger.pairs for side in (pair.a, pair.b)]
    if not sides or any("carrier" not in side.secret for side in sides):
        raise ParameterError(
            f"the marking was made by method={ledger.header.get('method')!r}; weights can be compared with what "
            'method="radioactive" hides'
        )
    if proxy not in PROXIES and not proxy.startswith(TORCHVISION_PREFIX):
        raise ParameterError(
            f"the marking's proxy {proxy} is a function of yours, which cannot be called from here; mark with a named proxy"
        )
    size = int(ledger.header["input_size"])
    marker = build_model(proxy, len(classes), input_size=size, seed=0)
    marker.load_state_dict(load_checkpoint(folder / "f_out.pt"))
    _, _, ordinary = around.some_unmarked(classes, NUM_ORDINARY, None)
    if not ordinary:
        raise ParameterError(
            "no image of the dataset is unmarked, and two models' features are compared on such"
        )
    dimension = last_layer(marker).in_features
    carriers = {
        image.sample_id: (carrier_of(side.secret, dimension), classes.index(image.label))
        for side in sides
        for image in side.asked
    }
    return WhiteBoxSuspect(
        model,
        marker,
        ordinary,
        thumbnails(ordinary, size),
        carriers,
        preprocessing=preprocessing,
        device=None if device is None else choose_device(device),
        name=name,
    )
