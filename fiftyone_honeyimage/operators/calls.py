"""How an operator is declared and called, and which parameters it was given."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from ..core.methods import METHODS

#: Arguments of SDK functions that no queue could hold, or that an operator sets itself
_ONLY_FROM_PYTHON = {
    "checkpoint_dir",
    "executor",
    "export_media",
    "progress",
    "relays",
    "unpublished",
    "user",
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

    The App's list of operators is searched in labels, addresses and descriptions, and sorted by the first
    *letter of the description*. So descriptions begin with "Step" where something is made, and what deletes comes
    last; and no description says what another operator is searched by.

    Args:
        name, description: see ``fiftyone.operators.OperatorConfig``
        label: what it does; :func:`titled` makes it one of ours
        risk: what running it may do
        long (False): whether it may take minutes, so that it is delegated by default
        asks (True): whether it has a form
    """
    return foo.OperatorConfig(
        name=name,
        label=titled(label),
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


def titled(label: str) -> str:
    """A label that tells this plugin's operators and buttons apart: another one has a "Compute hardness" too."""
    return f"HoneyImage: {label[:1].lower()}{label[1:]}"


def call(
    operator: foo.Operator,
    samples: fo.core.collections.SampleCollection,
    params: Mapping[str, Any],
    delegate: bool = False,
    delegation_target: str | None = None,
) -> Any:
    """Executes or delegates an operator from Python, on a dataset or a view.

    Args:
        operator: the operator
        samples: the dataset or view
        params: its parameters; those that are None count as not given, others are sent as what JSON can hold
        delegate (False): whether to run it as a delegated operation
        delegation_target (None): the orchestrator, if delegated

    Returns:
        a ``fiftyone.operators.ExecutionResult``
    """
    target = {"view": samples} if isinstance(samples, fo.DatasetView) else {"dataset": samples}
    return foo.execute_operator(
        operator.uri,
        {
            **target,
            "params": {name: _plain(value) for name, value in params.items() if value is not None},
            "request_delegation": delegate,
            "delegation_target": delegation_target,
        },
    )


def call_like(
    function: Callable[..., Any],
    operator: foo.Operator,
    samples: fo.core.collections.SampleCollection,
    *args: Any,
    delegate: bool = False,
    delegation_target: str | None = None,
    **kwargs: Any,
) -> Any:
    """Executes or delegates an operator with the arguments of the SDK's function that it runs.

    Args:
        function: the SDK's function, whose defaults hold
        operator, samples, delegate (False), delegation_target (None): see :func:`call`
        args, kwargs: what the function takes beside the samples, as far as an operator can be given it

    Returns:
        a ``fiftyone.operators.ExecutionResult``

    Raises:
        TypeError: for what the function does not take, or an operator cannot be given
    """
    bound = inspect.signature(function).bind(samples, *args, **kwargs)
    own = _ONLY_FROM_PYTHON.intersection(bound.arguments)
    if own:
        raise TypeError(f"an operator cannot be given {', '.join(sorted(own))}")
    bound.apply_defaults()
    _, *given = bound.arguments.items()
    params = {name: value for name, value in given if name not in _ONLY_FROM_PYTHON}
    return call(operator, samples, params.pop("options", {}) | params, delegate, delegation_target)


def _plain(value: Any) -> Any:
    """A value as what JSON can hold."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        return value
    return [_plain(each) for each in value]


def sdk_defaults(function: Callable[..., Any], method: Any = None) -> dict[str, Any]:
    """The parameters of an SDK function that have a default; a method's options are among them.

    Those of ``method``, or of the SDK's default where it is none.
    """
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        own = METHODS.get(str(method)) or METHODS[defaults["method"]]
        defaults |= {question.name: question.default for question in own.Options.questions()}
    return defaults


def given(ctx: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of an SDK function that were given; its defaults stand for the others.

    An emptied field of a form counts as not given. A recipe that a form has chosen stands for the whole training:
    the fields that it hides still hold what they held.
    """
    names = [*inspect.signature(function).parameters, *sdk_defaults(function, _method(ctx))]
    values = {name: ctx.params.get(name) for name in names}
    values = {name: value for name, value in values.items() if value not in (None, "", {})}
    if ctx.params.get("recipe") not in (None, "", "default") and "training" in names:
        values["training"] = ctx.params["recipe"]
    if isinstance(values.get("training"), Mapping):
        values["training"] = {
            name: value for name, value in values["training"].items() if value not in (None, "")
        }
    return values


def values(ctx: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of an SDK function, as given or its defaults."""
    return sdk_defaults(function, _method(ctx)) | given(ctx, function)


def _method(ctx: Any) -> Any:
    return ctx.params.get("method")


def change_dataset(ctx: Any, function: Callable[..., Any], **more: Any) -> dict[str, Any]:
    """Calls an SDK function that changes the open dataset; the parameters that it was given.

    ``more`` are parameters that go by other names in the form.
    """
    params = given(ctx, function) | more
    function(ctx.dataset, **params)
    if not ctx.delegated:
        ctx.trigger("reload_dataset")
    return params


def progress(ctx: Any) -> Callable | None:
    """What to pass as ``progress``: reports share and stage of a delegated run.

    An immediate run has nobody to report to: FiftyOne's own progress bar is left on.
    """
    if not ctx.delegated:
        return None
    return fo.report_progress(
        lambda bar: ctx.set_progress(progress=bar.progress, label=bar.stage), dt=1.0
    )
