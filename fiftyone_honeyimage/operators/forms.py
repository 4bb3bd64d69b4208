"""What the operators' forms share. Rules are the SDK's own: a form shows what its checks raise.

Imported whenever FiftyOne lists plugins, so nothing heavy is imported at the top.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.cache import execution_cache

from ..core.errors import HoneyImageError

if TYPE_CHECKING:
    from ..core.evidence.ledger import Ledger
    from ..core.evidence.verdict import Plan
    from ..dataset.cost import RunCost
    from ..dataset.manage import RunSummary
    from ..dataset.marking import Marking
    from ..dataset.samples import LabeledSamples

T = TypeVar("T")

#: Options of every run that trains proxies, as the SDK's functions name them.
TRAINING_OPTIONS = ("input_size", "training", "seed", "device", "skip_failures")

_PROXIES = {
    "wrn28_2": "Wide residual network, 1.5 M parameters: the default, for a GPU",
    "resnet18": "ResNet-18 for small images, 11 M parameters: for a GPU",
    "densenet121": "DenseNet-121, 7 M parameters: for a GPU",
    "vgg11_bn": "VGG-11 with batch norm, 9 M parameters: for a GPU",
    "vit_small": "Small vision transformer: for a GPU",
    "resnet_tiny": "Small residual network, 0.3 M parameters: for a CPU",
}

_EXCLUSIONS = {
    "duplicates": "Exact and near duplicates of another image",
    "label_errors": "Suspected label errors, found by Compute hardness",
}


def operator_config(
    name: str,
    label: str,
    description: str,
    *,
    risk: types.RiskLevel,
    long: bool = False,
    asks: bool = True,
    **kwargs: Any,
) -> foo.OperatorConfig:
    """The config of an operator of this plugin.

    Args:
        name, label, description: see ``fiftyone.operators.OperatorConfig``
        risk: what running it may do
        long (False): whether it may take minutes, so that it is delegated by default
        asks (True): whether it has a form
    """
    return foo.OperatorConfig(
        name=name,
        label=label,
        description=description,
        dynamic=asks,
        allow_immediate_execution=True,
        allow_delegated_execution=long,
        default_choice_to_delegated=long,
        light_icon="/assets/icon-light.svg",
        dark_icon="/assets/icon-dark.svg",
        risk_level=risk,
        **kwargs,
    )


def call(
    operator: foo.Operator,
    samples: fo.core.collections.SampleCollection,
    params: Mapping[str, Any],
    delegate: bool,
    delegation_target: str | None,
) -> Any:
    """Executes or delegates an operator from Python, on a dataset or a view."""
    target = {"view": samples} if isinstance(samples, fo.DatasetView) else {"dataset": samples}
    return foo.execute_operator(
        operator.uri,
        {
            **target,
            "params": {name: value for name, value in params.items() if value is not None},
            "request_delegation": delegate,
            "delegation_target": delegation_target,
        },
    )


def sdk_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of an SDK function that have a default."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def given(ctx: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of an SDK function that were given; its defaults stand for the others.

    An emptied field of a form counts as not given.
    """
    values = {name: ctx.params.get(name) for name in inspect.signature(function).parameters}
    values = {name: value for name, value in values.items() if value not in (None, "", {})}
    if "training" in values:
        values["training"] = {
            name: value for name, value in values["training"].items() if value not in (None, "")
        }
    return values


def value(ctx: Any, function: Callable[..., Any], name: str) -> Any:
    """A parameter's value: as given, or the SDK's default."""
    return given(ctx, function).get(name, sdk_defaults(function).get(name))


def progress(ctx: Any) -> Callable | None:
    """What to pass as ``progress``: reports share and stage of a delegated run.

    An immediate run has nobody to report to: FiftyOne's own progress bar is left on.
    """
    if not ctx.delegated:
        return None
    return fo.report_progress(
        lambda bar: ctx.set_progress(progress=bar.progress, label=bar.stage), dt=1.0
    )


@contextmanager
def errors_on(prop: types.Property) -> Iterator[None]:
    """Shows an error of the SDK on a property of the form, which then cannot be submitted."""
    try:
        yield
    except HoneyImageError as error:
        if not prop.invalid:
            prop.invalid = True
            prop.error_message = _sentence(error)


@contextmanager
def errors_on_named(inputs: types.Object, default: types.Property) -> Iterator[None]:
    """Shows an error of the SDK on the property whose name it begins with.

    Args:
        inputs: the form
        default: the property to show other errors on
    """
    try:
        yield
    except HoneyImageError as error:
        text = str(error)
        named = [name for name in inputs.properties if text.startswith(f"{name} ")]
        named += [name for name in inputs.properties if text.startswith(f"{name}=")]
        prop = inputs.properties[named[0]] if named else default
        if not prop.invalid:
            prop.invalid, prop.error_message = True, _sentence(error)


@contextmanager
def blocking(inputs: types.Object, label: str) -> Iterator[None]:
    """Shows an error of the SDK as a notice that blocks the form."""
    try:
        yield
    except HoneyImageError as error:
        block(inputs, label, _sentence(error))


def block(inputs: types.Object, label: str, reason: str) -> None:
    """Says why a form cannot be submitted and what to do."""
    prop = inputs.view("blocked", types.Error(label=label, description=reason))
    prop.invalid = True
    prop.error_message = reason


def is_blocked(inputs: types.Object) -> bool:
    """Whether anything in a form keeps it from being submitted."""
    return any(
        prop.invalid or (isinstance(prop.type, types.Object) and is_blocked(prop.type))
        for prop in inputs.properties.values()
    )


def form(inputs: types.Object, label: str, submit: str | None = None) -> types.Property:
    """A finished form."""
    return types.Property(inputs, view=types.PromptView(label=label, submit_button_label=submit))


def target(
    ctx: Any, inputs: types.Object, action: str, **kwargs: Any
) -> fo.core.collections.SampleCollection | None:
    """Asks which samples to use; None, with the reason in the form, if they cannot be used."""
    if not has_dataset(ctx, inputs):
        return None
    inputs.view_target(ctx, action_description=action, **kwargs)
    samples = ctx.target_view()
    from ..dataset.checks import check_collection

    with blocking(inputs, "These samples cannot be used"):
        check_collection(samples)
    return None if is_blocked(inputs) else samples


def has_dataset(ctx: Any, inputs: types.Object) -> bool:
    """Whether a dataset is open; if not, the form says so."""
    if ctx.dataset is None:
        block(inputs, "No dataset is open", "Open a dataset first.")
        return False
    return True


def label_field(
    ctx: Any, inputs: types.Object, samples: fo.core.collections.SampleCollection
) -> str | None:
    """Asks for the label field; None, with the reason in the form, if there is none."""
    from ..dataset.checks import check_label_field, classification_fields

    fields = classification_fields(samples)
    if not fields:
        block(
            inputs,
            "There is no label field",
            "HoneyImages need a field of type Classification, and this dataset has none. Add one, "
            "for example with `dataset.add_sample_field` and labels for every sample.",
        )
        return None
    name = ctx.params.get("label_field") or fields[0]
    prop = dropdown(
        inputs,
        "label_field",
        dict.fromkeys(fields, ""),
        default=fields[0],
        required=True,
        label="Label field",
        description="The field with the true class of every image",
    )
    with errors_on(prop):
        check_label_field(samples, name)
    return None if prop.invalid else name


def labeled_samples(
    ctx: Any, inputs: types.Object, samples: fo.core.collections.SampleCollection, label_field: str
) -> LabeledSamples | None:
    """Reads the labels; None, with the reason in the form, if they cannot be used."""
    from ..dataset.samples import read_labels

    with blocking(inputs, "These samples cannot be used"):
        return once(
            ctx,
            ("labels", view_key(samples), label_field),
            lambda: read_labels(samples, label_field),
        )
    return None


def once(ctx: Any, key: tuple[str, ...], read: Callable[[], T]) -> T:
    """Reads something from the dataset once while a form is open: typing must not wait for it."""
    return _remembered(ctx, key, read) if ctx.prompt_id else read()


@execution_cache(
    prompt_scoped=True, residency="ephemeral", max_size=16, key_fn=lambda ctx, key, read: key
)
def _remembered(ctx: Any, key: tuple[str, ...], read: Callable[[], Any]) -> Any:
    return read()


def view_key(samples: fo.core.collections.SampleCollection) -> str:
    """Tells views of datasets apart."""
    return f"{samples._root_dataset._doc.id} {samples.view()._serialize()}"


def dropdown(
    inputs: types.Object,
    name: str,
    choices: Mapping[str, str],
    *,
    label: str,
    description: str = "",
    **kwargs: Any,
) -> types.Property:
    """A choice among values, each with what it means."""
    view = types.DropdownView(label=label, description=description)
    for value, meaning in choices.items():
        view.add_choice(value, label=value, description=meaning)
    return inputs.enum(name, view.values(), view=view, **kwargs)


def default_proxy() -> str:
    """The proxy that suits this machine: the paper's kind on a GPU, a small one on a CPU."""
    from ..core.device import choose_device

    return "resnet_tiny" if choose_device().type == "cpu" else "wrn28_2"


def proxy(ctx: Any, inputs: types.Object) -> str:
    """Asks for the proxy architecture."""
    from ..core.models import PROXIES

    default = default_proxy()
    chosen = ctx.params.get("proxy") or default
    choices = {name: _PROXIES.get(name, "") for name in PROXIES}
    if chosen.startswith("torchvision:"):
        choices[chosen] = "An architecture of torchvision"
    dropdown(
        inputs,
        "proxy",
        choices,
        default=default,
        label="Proxy model",
        description="The architecture that stands for models you do not know; it is trained here",
    )
    return chosen


def marking(
    ctx: Any, inputs: types.Object, samples: fo.core.collections.SampleCollection
) -> Marking | None:
    """Asks for a marking; None, with the reason in the form, if there is none."""
    from ..dataset.marking import load_marking
    from ..dataset.runs import MARKING, list_keys

    keys = list_keys(samples, MARKING)
    if not keys:
        block(
            inputs,
            "There is no marking yet",
            "Run *Compute hardness* and then *Generate HoneyImages* first.",
        )
        return None
    key = ctx.params.get("honey_key") or keys[-1]
    prop = dropdown(
        inputs,
        "honey_key",
        dict.fromkeys(keys, ""),
        default=keys[-1],
        required=True,
        label="Marking",
    )
    with errors_on(prop):
        return load_marking(samples, key)
    return None


def ledger(ctx: Any, inputs: types.Object, marking: Marking, shown: bool = False) -> Ledger | None:
    """Opens a marking's ledger, and asks for its place if it was moved.

    Args:
        ctx, inputs: the form
        marking: the marking
        shown (False): whether to ask for its place in any case

    Returns:
        the ledger, or None with the reason in the form
    """
    from ..dataset.marking import open_ledger

    place = ctx.params.get("ledger_path") or None
    if not (shown or place):
        with suppress(HoneyImageError):
            return open_ledger(marking, None)
    prop = inputs.str(
        "ledger_path",
        label="Ledger",
        description=f"Its place, if it was moved. Empty: `{marking.ledger_path}`",
    )
    with errors_on(prop):
        return open_ledger(marking, place)
    return None


def choose_run(
    ctx: Any, inputs: types.Object, kinds: Sequence[str], what: str
) -> RunSummary | None:
    """Asks for a run; None, with the reason in the form, if there is none of these kinds."""
    from ..dataset.manage import list_runs

    runs = {run.key: run for run in list_runs(ctx.dataset) if run.kind in kinds}
    if not runs:
        block(
            inputs, "There are no runs", f"This dataset has no {' or '.join(kinds)} to {what} yet."
        )
        return None
    key = ctx.params.get("key")
    prop = dropdown(
        inputs,
        "key",
        {key: f"{run.kind}, {run_time(run)}" for key, run in runs.items()},
        required=True,
        label="Run",
    )
    if key and key not in runs:
        prop.invalid = True
        prop.error_message = f"There is no run '{key}'; choose one of {', '.join(runs)}"
    return runs.get(key)


def run_time(run: RunSummary) -> str:
    """When a run was registered, UTC."""
    return "" if run.timestamp is None else f"{run.timestamp:%Y-%m-%d %H:%M}"


def exclude(ctx: Any, inputs: types.Object, default: Sequence[str]) -> list[str]:
    """Asks which images are never marked."""
    from ..dataset.candidates import EXCLUSIONS, check_exclusions

    chosen = ctx.params.get("exclude")
    chosen = list(default) if chosen is None else chosen
    view = types.DropdownView(
        label="Never mark",
        description="Images that are left out when candidates are chosen",
        multiple=True,
    )
    for value in EXCLUSIONS:
        view.add_choice(value, label=value, description=_EXCLUSIONS.get(value, ""))
    prop = inputs.list("exclude", types.String(), default=list(default), view=view)
    with errors_on(prop):
        check_exclusions(chosen)
    return list(chosen)


def section(
    ctx: Any, inputs: types.Object, function: Callable[..., Any], names: Sequence[str]
) -> bool:
    """A switch that unfolds further options; they stay in sight while one of them is changed.

    Args:
        ctx, inputs: the form
        function: the SDK's function that takes the options
        names: the options
    """
    inputs.bool("advanced", default=False, label="Further options", view=types.SwitchView())
    if ctx.params.get("advanced"):
        return True
    defaults = sdk_defaults(function)
    values = given(ctx, function)
    if "training" in values:
        values["training"] = _changed_training(values["training"]) or None
    return any(
        _comparable(values.get(name, defaults[name])) != _comparable(defaults[name])
        for name in names
    )


def _comparable(value: Any) -> Any:
    # The App sends lists where the SDK's defaults are tuples
    return tuple(value) if isinstance(value, list) else value


def _changed_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    from ..core.training import TrainingConfig

    defaults = TrainingConfig()
    return {k: v for k, v in settings.items() if getattr(defaults, k, None) != v}


def training(ctx: Any, inputs: types.Object, function: Callable[..., Any], shown: bool) -> Any:
    """Asks how proxies are trained; the ``TrainingConfig``, or None if a value is out of range."""
    from ..core.training import TrainingConfig
    from ..dataset.hardness import training_config

    changes = value(ctx, function, "training")
    defaults = TrainingConfig()
    settings = types.Object()
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
        inputs.define_property(
            "training", settings, label="Training of the proxies", view=types.ObjectView()
        )
    config = None
    with blocking(inputs, "The training settings cannot be used"):
        if not shown:
            return training_config(changes)
        with errors_on_named(settings, settings.properties["epochs"]):
            config = training_config(changes)
    return config


def machine(ctx: Any, inputs: types.Object, function: Callable[..., Any]) -> None:
    """Asks for the seed, the device and what to do with unreadable images."""
    from ..dataset.checks import check_seed

    prop = inputs.int(
        "seed",
        default=sdk_defaults(function)["seed"],
        label="Seed",
        description="Same seed and device, same result",
    )
    with errors_on(prop):
        check_seed(value(ctx, function, "seed"))
    device(ctx, inputs)
    inputs.bool(
        "skip_failures",
        default=False,
        label="Leave out unreadable images",
        description="They are counted. Otherwise the first one stops the run",
    )


def device(ctx: Any, inputs: types.Object) -> None:
    """Asks where to compute."""
    from ..core.device import choose_device

    prop = inputs.str(
        "device", label="Device", description="cuda, cuda:1, mps or cpu; empty for the best one"
    )
    with errors_on(prop):
        choose_device(ctx.params.get("device") or None)


def input_size(ctx: Any, inputs: types.Object, labeled: LabeledSamples, shown: bool) -> int | None:
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


def training_time(
    ctx: Any,
    inputs: types.Object,
    uri: str,
    *,
    proxy: str,
    num_classes: int,
    size: int,
    config: Any,
) -> float | None:
    """Has the speed of this machine measured while the form is open.

    Args:
        ctx, inputs: the form
        uri: of the operator that measures
        proxy, num_classes, size, config: what is to be trained

    Returns:
        seconds per image and epoch, or None while it is not known
    """
    if not ctx.prompt_id or ctx.delegated:
        return None  # nobody is waiting in front of a form
    request = {
        "proxy": proxy,
        "num_classes": num_classes,
        "input_size": size,
        "batch_size": config.batch_size,
        "precision": config.precision,
        "device": ctx.params.get("device") or None,
    }
    inputs.loader(
        "speed",
        type=types.Object(),
        operator=uri,
        params=request,
        label="Measuring how fast this machine trains the proxy…",
        dependencies=list(request),
    )
    loaded = ctx.params.get("speed") or {}
    data = loaded.get("data") or {}
    if loaded.get("state") != "loaded" or data.get("request") != request:
        return None
    return data.get("seconds")


def cost(inputs: types.Object, cost: RunCost, lines: Sequence[str], seconds: float | None) -> None:
    """Shows what a run will cost, unless something else has to be put right first."""
    if is_blocked(inputs):
        return
    facts = [*lines, f"{cost.num_images:,} images read"]
    if cost.num_passes:
        facts.append(f"{cost.num_passes:,} training passes (one image, forward and back)")
    if cost.memory_bytes:
        facts.append(f"{size_text(cost.memory_bytes)} of images in memory")
    if cost.disk_bytes:
        facts.append(f"about {size_text(cost.disk_bytes)} written to disk")
    if seconds is not None:
        facts.append(
            f"about **{time_text(cost.seconds(seconds))}** of training on this machine, from a "
            "step measured just now"
        )
    notice(inputs, facts)


def notice(inputs: types.Object, facts: Sequence[str]) -> None:
    """Shows what a run takes, and what becomes of it when it is scheduled."""
    facts = [
        *facts,
        "once scheduled it waits for a worker: `fiftyone delegated launch -m` in a terminal starts "
        "one, `fiftyone delegated list` tells how far it is",
    ]
    text = "\n".join(f"- {fact}" for fact in facts)
    inputs.view("cost", types.Notice(label="What this run takes", description=text))


def size_text(count: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"


def time_text(seconds: float) -> str:
    """A duration in words, as precise as an estimate may be."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def warn_if_powerless(inputs: types.Object, num_pairs: int, plan: Plan, position: int) -> None:
    """Warns if so few pairs of twins cannot convict any model.

    Args:
        inputs: the form
        num_pairs: the pairs to be asked about
        plan: the marking's plan
        position: which verification it is
    """
    from ..core.evidence.multiple import alpha_effective
    from ..core.evidence.twins import min_attainable_p

    level = alpha_effective(plan.alpha, position)
    best = min_attainable_p(num_pairs)
    if num_pairs >= plan.min_pairs and best <= level:
        return
    inputs.view(
        "powerless",
        types.Warning(
            label=f"{num_pairs} pairs of twins cannot show anything",
            description=f"Verification number {position} is held to the level {level:.2g} and needs "
            f"at least {plan.min_pairs} pairs; the smallest p-value that {num_pairs} pairs can give "
            f"is {best:.2g}. The verdict would be *inconclusive*.",
        ),
    )


def free_key(samples: fo.core.collections.SampleCollection, stem: str) -> str:
    """The first of ``stem``, ``stem_2``, … that nothing on the dataset uses."""
    from ..dataset.runs import check_new_key

    number, key = 1, stem
    while True:
        try:
            check_new_key(samples, key, "key")
        except HoneyImageError:
            number += 1
            key = f"{stem}_{number}"
            continue
        return key


def table(header: tuple[str, str], rows: Sequence[tuple[str, Any]]) -> str:
    """Label and value as a Markdown table."""
    lines = [f"| {label} | {value} |" for label, value in (header, ("---", "---"), *rows)]
    return "\n".join(lines)


def scheduled(ctx: Any) -> types.Property | None:
    """What a run shows that was put in the queue; None if it was not, and has a result.

    The App asks for the output of a run as soon as it is scheduled, with the queue's entry as result,
    though today's App then shows nothing of it.
    """
    if "run_state" not in ctx.results:
        return None
    text = (
        "It waits in the queue until a worker takes it. If none is running, start one in a terminal, "
        "on this machine or on one with a GPU that reaches the same database and files:\n\n"
        "`FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS=true fiftyone delegated launch -m`\n\n"
        "`fiftyone delegated list` tells how far it is."
    )
    return output(text, "The run is scheduled")


def output(markdown: str, label: str) -> types.Property:
    """What a finished run shows."""
    outputs = types.Object()
    outputs.md(markdown, name="summary")
    return types.Property(outputs, view=types.View(label=label))


def _sentence(error: Exception) -> str:
    """An error as a sentence of a form."""
    text = str(error)
    # A parameter's name keeps its case
    return text if "_" in text.split()[0] else text[:1].upper() + text[1:]
