"""What forms ask about the training of proxies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types

from ..core.errors import HoneyImageError
from . import calls, questions
from .form_errors import blocking, errors_on, errors_on_named
from .form_parts import dropdown

if TYPE_CHECKING:
    from ..core.pipeline.labeled import LabeledSamples
    from ..core.training import TrainingConfig

#: Options of every run that trains proxies, as the SDK's functions name them.
TRAINING_OPTIONS = ("input_size", "training", "seed", "device", "skip_failures")

#: The choice that is made by the machine that runs it, which need not be the App's
FITTING = "automatic"

_FITTING = "Chosen by the machine that runs this"

_PROXIES = {
    "wrn28_2": "Wide residual network, 1.5 M parameters: the default, for a GPU",
    "resnet18": "ResNet-18 for small images, 11 M parameters: for a GPU",
    "densenet121": "DenseNet-121, 7 M parameters: for a GPU",
    "vgg11_bn": "VGG-11 with batch norm, 9 M parameters: for a GPU",
    "vit_small": "Small vision transformer: for a GPU",
    "resnet_tiny": "Small residual network, 0.3 M parameters: for a CPU",
}


#: Recipes of training, in a curator's words
_RECIPES = {
    "default": "60 epochs, or as set below",
    "quick": "15 epochs, for a first look",
    "paper": "As the HoneyImage paper prints it: 150 epochs, and a weight decay with which models memorise little",
    "paper_light_decay": "The same with the weight decay of others",
}


@dataclass(frozen=True)
class ProxyTraining:
    """How a run trains its proxies, as far as its cost depends on it.

    Attributes:
        proxy: the architecture
        num_classes: its outputs
        input_size: pixels
        config: the settings
    """

    proxy: str
    num_classes: int
    input_size: int
    config: TrainingConfig


def proxy(ctx: Any, inputs: types.Object) -> str:
    """Asks for the proxy architecture.

    Returns:
        the one that is chosen; of :data:`FITTING` what this machine would take
    """
    from ..core.models import PROXIES, TORCHVISION_PREFIX, check_proxy

    chosen = ctx.params.get("proxy") or FITTING
    choices = [FITTING, *PROXIES]
    meanings = {FITTING: _FITTING, **_PROXIES}
    if str(chosen).startswith(TORCHVISION_PREFIX):
        choices.append(chosen)
        meanings[chosen] = "An architecture of torchvision"
    prop = dropdown(
        inputs,
        "proxy",
        choices,
        meanings,
        default=FITTING,
        label="Proxy model",
        description="The architecture that stands for models you do not know; it is trained by this run. "
        "Automatic: wrn28_2 on a machine with a GPU, resnet_tiny on one without",
    )
    if chosen == FITTING:
        return _fitting(ctx.params.get("device"))
    with errors_on(prop):
        check_proxy(chosen)
    return chosen


def given(ctx: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """As :func:`.calls.given`, on the machine that runs it: with a proxy that fits it, if that was asked for."""
    values = calls.given(ctx, function)
    if values.get("proxy") == FITTING:
        values["proxy"] = _fitting(values.get("device"))
    return values


def _fitting(device: str | None) -> str:
    """The paper's kind of network on a GPU, a small one on a CPU."""
    from ..core.device import choose_device

    try:
        kind = choose_device(device or None).type
    except HoneyImageError:  # a worker's, or a typing error that its own field tells
        kind = str(device).partition(":")[0]
    return "resnet_tiny" if kind == "cpu" else "wrn28_2"


def training(
    ctx: Any,
    inputs: types.Object,
    function: Callable[..., Any],
    proxy: str,
    labeled: LabeledSamples,
    shown: bool,
) -> ProxyTraining | None:
    """Asks how proxies are trained, where that is not folded.

    Otherwise they are trained as given, or by the SDK's default.

    Returns:
        the training, or None with the reason in the form if it cannot be done
    """
    from ..core.models import check_proxy

    size = _input_size(ctx, inputs, labeled, shown)
    config = _config(ctx, inputs, function, shown)
    if size is None or config is None:
        return None
    with errors_on(inputs.properties["proxy"]):
        check_proxy(proxy, len(labeled.classes), size)
    return ProxyTraining(proxy, len(labeled.classes), size, config)


def _input_size(ctx: Any, inputs: types.Object, labeled: LabeledSamples, shown: bool) -> int | None:
    """Asks for the proxies' input size; None, with the reason in the form, if it cannot be used."""
    from ..dataset.samples import proxy_input_size

    wanted = ctx.params.get("input_size")
    if not shown:
        with blocking(inputs, "The images cannot be read"):
            return proxy_input_size(labeled, None)
        return None
    prop = inputs.int(
        "input_size",
        label="Input size of the proxies",
        description="Pixels. Empty: the images' own size, up to 64",
    )
    with errors_on(prop):
        return proxy_input_size(labeled, wanted)
    return None


def _config(
    ctx: Any, inputs: types.Object, function: Callable[..., Any], shown: bool
) -> TrainingConfig | None:
    """Asks for the settings; None, with the reason in the form, if one is out of range."""
    from ..core.limits import check_choice
    from ..core.training import TrainingConfig
    from ..dataset.hardness import training_config

    changes = ctx.params.get("training")
    if isinstance(changes, Mapping):
        changes = calls.values(ctx, function)["training"]
    defaults = TrainingConfig()
    settings = types.Object()
    recipe = ctx.params.get("recipe") or "default"
    if shown:
        prop = dropdown(
            inputs, "recipe", _RECIPES, default="default", label="Training of the proxies"
        )
        with errors_on(prop):
            check_choice("recipe", recipe, _RECIPES)
        if prop.invalid:
            return None
    if recipe != "default":
        return training_config(recipe)
    if shown:
        settings.int("epochs", default=defaults.epochs, label="Epochs")
        settings.int("batch_size", default=defaults.batch_size, label="Batch size")
        settings.float(
            "learning_rate", default=defaults.learning_rate, label="Learning rate (peak)"
        )
        settings.bool(
            "flip",
            default=defaults.flip,
            label="Mirror images at random",
            description="Switch it off where left and right differ, as with digits and text",
        )
        prop = inputs.define_property(
            "training", settings, label="Settings of the training", view=types.ObjectView()
        )
        if not isinstance(changes, Mapping):  # nothing that FiftyOne could look into
            with errors_on(prop):
                return training_config(changes)
            return None
    config = None
    with blocking(inputs, "The training settings cannot be used"):
        if not shown:
            return training_config(changes)
        with errors_on_named(settings, settings.properties["epochs"]):
            config = training_config(changes)
    return config


def machine(ctx: Any, inputs: types.Object, function: Callable[..., Any]) -> None:
    """Asks for the seed, the device and what to do with unreadable images."""
    questions.seed(ctx, inputs, function)
    questions.device(ctx, inputs)
    inputs.bool(
        "skip_failures",
        default=False,
        label="Leave out unreadable images",
        description="They are counted. Otherwise the first one stops the run",
    )
