"""What forms are built from: choices, folded options, and what is read once while a form is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import fiftyone as fo
import fiftyone.operators.types as types
from fiftyone.operators.cache import execution_cache

from ..core.limits import Choice, Flag, Whole
from ..core.methods.options import Question
from . import calls

T = TypeVar("T")


def form(
    ctx: Any,
    fill: Callable[[Any, types.Object], None],
    label: str,
    submit: str | None = None,
) -> types.Property:
    """A form.

    ``fill`` asks what has to be asked, or says why nothing can be done; ``submit`` is on its button.
    """
    # What a panel shows, pictures too, would be kept with every run that is scheduled from it
    ctx.params.pop("panel_state", None)
    inputs = types.Object()
    fill(ctx, inputs)
    return types.Property(inputs, view=types.PromptView(label=label, submit_button_label=submit))


def dropdown(
    inputs: types.Object,
    name: str,
    choices: Iterable[str],
    meanings: Mapping[str, str] | None = None,
    *,
    label: str,
    description: str = "",
    **kwargs: Any,
) -> types.Property:
    """A choice of a value.

    ``meanings`` say what the choices mean; by default ``choices`` does, if it is a mapping.
    """
    view = types.DropdownView(label=label, description=description)
    if meanings is None:
        meanings = choices if isinstance(choices, Mapping) else {}
    for value in choices:
        view.add_choice(value, label=value, description=meanings.get(value, ""))
    return inputs.enum(name, view.values(), view=view, **kwargs)


def ask(inputs: types.Object, question: Question) -> types.Property:
    """Asks for one option of a method, as its dataclass words it."""
    words = {"default": question.default, "label": question.label, "description": question.help}
    if isinstance(question.limits, Choice):
        return dropdown(inputs, question.name, question.limits.meanings, **words)
    if isinstance(question.limits, Flag):
        return inputs.bool(question.name, **words)
    if isinstance(question.limits, Whole):
        return inputs.int(question.name, **words)
    return inputs.float(question.name, **words)


def multiple_choice(
    inputs: types.Object,
    name: str,
    choices: Iterable[str],
    meanings: Mapping[str, str] | None = None,
    *,
    label: str,
    description: str,
    default: Sequence[str],
) -> types.Property:
    """A choice of any number of values."""
    view = types.DropdownView(label=label, description=description, multiple=True)
    for value in choices:
        view.add_choice(value, label=value, description=(meanings or {}).get(value))
    return inputs.list(name, types.String(), default=list(default), view=view)


def section(
    ctx: Any, inputs: types.Object, function: Callable[..., Any], names: Sequence[str]
) -> bool:
    """A switch that unfolds further options; they stay in sight while one of them is changed.

    ``names`` are options of the SDK's ``function``.
    """
    inputs.bool("advanced", default=False, label="Further options", view=types.SwitchView())
    if ctx.params.get("advanced"):
        return True
    defaults = calls.sdk_defaults(function, ctx.params.get("method"))
    values = calls.given(ctx, function)
    if isinstance(values.get("training"), Mapping):
        values["training"] = _changed_training(values["training"]) or None
    return any(
        _comparable(values.get(name, defaults[name])) != _comparable(defaults[name])
        for name in names
        if name in defaults
    )


def _comparable(value: Any) -> Any:
    # The App sends lists where the SDK's defaults are tuples
    return tuple(value) if isinstance(value, list) else value


def _changed_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    from ..core.training import TrainingConfig

    defaults = TrainingConfig()
    return {k: v for k, v in settings.items() if getattr(defaults, k, None) != v}


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
