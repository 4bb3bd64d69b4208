"""Every form, with nonsense in every field: it never raises, and accepts nothing that then fails.

A form and the run behind it share their checks. So whatever a form accepts is executed here, up to the
first thing that takes long or cannot be undone: reading images, writing files, asking a suspect. What only a
worker may have, a device or a file, is accepted for a run that is scheduled; then the run may fail for that
reason and no other.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLUGIN = "@honeyimage/ownership"

#: Text that somebody types, or that half a word is while it is typed
TEXTS = (
    "",
    " ",
    "/",
    "//",
    ".",
    "..",
    "../..",
    "~",
    "~no-such-user",
    "~no-such-user/folder",
    "/dev/null",
    "/dev/null/folder",
    "/proc/honeyimage",
    "honey",
    "honey_hardness",
    "ground_truth",
    "guess",
    "theirs",
    "rows",
    "filepath",
    "tags",
    "none",
    "new_key",
    "autumn",
    "0",
    "0\n1",
    "0\n1\n2",
    "2\n1\n0\nother",
    "0.5, 0.5, 0.5",
    "0.5 0.5",
    "nan nan nan",
    "1e999, 0, 0",
    "cpu",
    "cuda:99",
    "cuda:-1",
    "meta",
    "torchvision:",
    "torchvision:resnet18",
    "torchvision:nothing",
    "resnet_tiny",
    "e_process",
    "labels",
    "unused",
    "CURRENT_VIEW",
    "CSVDataset",
    "VideoDirectory",
    "new/folder",
    "x" * 300,
    "x/" * 3000,
    "\x00",
    "a\x00b",
    "\x1b[2J",
    "a\nb",
    "\ud800",
    "größe",
    "\u202egnp.exe",
    "$HOME",
    "{key}",
    "`x`",
)

NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    8,
    16,
    36,
    64,
    10_000,
    100_000_000,
    10**30,
    -(10**30),
    2**63,
    0.0,
    -0.0,
    0.001,
    0.5,
    8.0,
    1e-300,
    1e300,
    float("nan"),
    float("inf"),
    float("-inf"),
)

SCALARS = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from(NUMBERS),
    st.none(),
    st.booleans(),
    st.text(max_size=12).filter(lambda text: not text.startswith(("/", "~"))),
    st.integers(),
    st.floats(),
)

TRAINING = st.dictionaries(
    st.sampled_from(
        ["epochs", "batch_size", "learning_rate", "flip", "momentum", "precision", "schedule", "x"]
    ),
    SCALARS,
    max_size=2,
)

VALUES = st.one_of(
    SCALARS,
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.sampled_from((["0", "1", "2"], [0.5, 0.5, 0.5], ["duplicates"], ["guess", "rows"])),
    st.dictionaries(st.sampled_from(["value", "0", "name"]), SCALARS, max_size=2),
    TRAINING,
)

#: What a field may well hold
USUAL: dict[str, tuple[Any, ...]] = {
    "advanced": (True, False),
    "adjustment": ("none", "references"),
    "alpha": (0.0005, 0.001, 1e-9),
    "batch_size": (1, 2, 64),
    "channels": ("RGB", "BGR"),
    "classes": ("0\n1\n2", "2\n1\n0\nother", ["1", "0", "2"]),
    "confirm_honey": (True, False),
    "confirm_key": ("honey",),
    "dataset_type": ("CSVDataset", "FiftyOneDataset"),
    "delete_files_honey": (True, False),
    "device": ("cpu", ""),
    "diversity": (0, 0.5),
    "epsilon": (2, 8.5),
    "exclude": ([], ["label_errors"], ["duplicates", "label_errors"]),
    "export_dir": ("new", "some/new folder", "<release>"),
    "fields": ([], ["guess"], ["rows"]),
    "folder": ("<marking>", ""),
    "hardness_field": ("honey_hardness", "scores"),
    "honey_key": ("spring", "honey"),
    "inner": ("warm", "retrain", "redrawn"),
    "input_size": (8, 33),
    "insist": (True, False),
    "key": ("honey", "theirs", "honey_hardness"),
    "label_field": ("ground_truth", "guess"),
    "ledger_path": ("<ledger>", ""),
    "lpips_backbone": ("",),
    "mean": ("0.5, 0.5, 0.5", [0.5, 0.5, 0.5]),
    "method": ("honeyimage", "unperturbed", "crop", "mixup", "adv"),
    "name": ("größe", "their model"),
    "names": ("keep", "renumber"),
    "new_key": ("spring", "autumn_2"),
    "num_honeyimages": (1, 8, 14),
    "num_out_models": (1, 3),
    "num_pairs": (0, 5, 8),
    "num_random": (0, 3),
    "num_references": (0, 2, 16),
    "num_steps": (1, 50),
    "output_dir": ("new", "some/new folder"),
    "outputs": ("labels", "logits"),
    "overwrite": (True, False),
    "pairs": ("all", "unused"),
    "path": ("new.json", "a folder/new.json"),
    "placement": ("masking", "uerd"),
    "placement_share": (0.01, 1),
    "proxy": ("resnet_tiny", "vgg11_bn", "torchvision:resnet18"),
    "recipe": ("quick", "paper", "default"),
    "reencode": ("all", "marked"),
    "references": ("guess\nrows", ["rows"]),
    "robust": (True, False),
    "score": ("loss", "confidence"),
    "seed": (0, 7),
    "unchanged_share": (0, 0.5),
    "selection": ("gain", "unsettled", "spread"),
    "matched": (True, False),
    "diverse": (True, False),
    "skip_failures": (True, False),
    "smoothing": (0, 2.5),
    "source": ("A model file", "A field of predictions"),
    "std": ("0.5, 0.5, 0.5", [0.5, 0.5, 0.5]),
    "stealth": (0, 2.5),
    "step_size": (0.1, 1),
    "suspect": ("guess", "rows", "<suspect>"),
    "test": ("e_process", "signed_rank"),
    "thumbnails": ("exclude", "drop"),
    "trade_off": (0, 4),
    "training": ({"epochs": 2}, {"precision": "bf16", "flip": False}),
    "verify_key": ("theirs", "mine"),
    "written": ("file", "bundle", "bundle_with_images"),
    "view_target": ("DATASET", "CURRENT_VIEW"),
}


class _ReachedError(BaseException):
    """Execution has passed its checks. No ``except Exception`` stops it."""


def _reached(*args: Any, **kwargs: Any) -> Any:
    raise _ReachedError


@dataclass(frozen=True)
class Case:
    """An operator and how its form is filled.

    Attributes:
        name: the operator
        usual: parameters that it accepts
        fields: the other parameters that it reads
        stops: module.attribute, below the package, of what comes after all checks
    """

    name: str
    usual: dict[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


_TRAINING_FIELDS = ("proxy", "input_size", "recipe", "training", "seed", "device", "skip_failures")
_TARGET = ("view_target", "label_field", "advanced")

CASES = (
    Case(
        "compute_hardness",
        {"label_field": "ground_truth", "proxy": "resnet_tiny", "device": "cpu"},
        ("hardness_field", *_TARGET, *_TRAINING_FIELDS),
        ("dataset.hardness.load_images",),
    ),
    Case(
        "generate_honeyimages",
        {
            "label_field": "ground_truth",
            "proxy": "resnet_tiny",
            "device": "cpu",
            "honey_key": "other",
            "num_pairs": 8,
        },
        (
            *("honey_key", "method", "num_honeyimages", "num_pairs", "hardness_field", "exclude"),
            *("selection", "matched", "diverse", "epsilon", "step_size", "num_steps", "inner"),
            *("robust", "smoothing", "unchanged_share", "alpha", "test"),
            *("num_out_models", "diversity", "stealth", "placement", "placement_share"),
            *("score", "adjustment", "num_references", "coins", "coins_at"),
            *("plan_pairs", "thief", "power", "answers"),
            *("output_dir", "lpips_backbone", "trade_off", "reencode", "thumbnails"),
            *(*_TARGET, *_TRAINING_FIELDS),
        ),
        ("dataset.marking.generate.make_images",),
    ),
    Case(
        "export_release",
        {"honey_key": "honey"},
        (
            *("honey_key", "export_dir", "dataset_type", "ledger_path", "reencode", "names"),
            *("fields", "recipient", *_TARGET),
        ),
        ("dataset.release.export.write_release",),
    ),
    Case(
        "audit_release",
        {"honey_key": "honey", "export_dir": "<release>", "proxy": "none"},
        ("honey_key", "export_dir", "proxy", "ledger_path", "seed", "device"),
        ("dataset.release.audit.find_images",),
    ),
    Case(
        "verify_model",
        {"honey_key": "honey", "suspect": "guess"},
        (
            *("honey_key", "source", "suspect", "name", "verify_key", "alpha", "classes"),
            *(
                "outputs",
                "input_size",
                "mean",
                "std",
                "channels",
                "batch_size",
                "pairs",
                "num_pairs",
            ),
            *("references", "ledger_path", "num_random", "device", "skip_failures", "insist"),
            "advanced",
        ),
        # Held answers are read by the form too
        (
            "core.suspects.journal.Journal.begin",
            "core.suspects.torchscript.TorchScriptSuspect.answer",
        ),
    ),
    Case(
        "attach_marking",
        {"ledger_path": "<ledger>"},
        ("ledger_path", "folder", "honey_key", "label_field", "advanced"),
        ("dataset.marking.attach.changing",),
    ),
    Case(
        "export_evidence",
        {"verify_key": "theirs"},
        ("verify_key", "path", "overwrite", "written"),
        ("dataset.verification.verification.write_evidence",),
    ),
    Case(
        "rename_run",
        {"key": "theirs", "new_key": "spring"},
        ("key", "new_key"),
        ("dataset.management.run_list._rename_marking", "Dataset.rename_run"),
    ),
    Case(
        "delete_run",
        {"key": "theirs", "confirm_theirs": True, "confirm_honey_hardness": True},
        ("key", "delete_files_honey", "confirm_honey", "confirm_theirs", "confirm_key"),
        (
            "dataset.management.run_list._delete_marking",
            "Dataset.delete_run",
            "Dataset.delete_sample_field",
        ),
    ),
    Case("list_runs"),
    Case("open_workspace"),
)


@pytest.fixture
def stop(fo: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has execution end where it has passed its checks: ``stop("dataset.hardness.load_images")``."""
    operators = importlib.import_module("fiftyone.operators")
    plugin = type(operators.get_operator(f"{PLUGIN}/list_runs")).__module__
    package = plugin.rpartition(".operators.")[0]

    def patch(place: str) -> None:
        owner, _, name = place.rpartition(".")
        if owner == "Dataset":
            monkeypatch.setattr(fo.Dataset, name, _reached)
            return
        parts = owner.split(".")
        cut = len(parts) - parts[-1][0].isupper()
        found = importlib.import_module(".".join([package, *parts[:cut]]))
        for part in parts[cut:]:
            found = getattr(found, part)
        monkeypatch.setattr(found, name, _reached)

    return patch


def known(value: Any, paths: dict[str, str]) -> Any:
    """A value with the names of paths replaced by the paths."""
    return paths.get(value, value) if isinstance(value, str) else value


#: Fields without which a form asks nothing else
_FIRST = ("label_field", "honey_key", "hardness_field", "key", "verify_key", "view_target")

#: Fields with a path, and what is typed into them
_PATHS = ("output_dir", "export_dir", "ledger_path", "path", "folder", "lpips_backbone", "suspect")
_PATH_TEXTS = (
    *("/", "..", "~", "~no-such-user/folder", "/dev/null", "/dev/null/folder", "/proc/honeyimage"),
    *("x" * 300, "x/" * 3000, "a\x00b", "\ud800", " ", "new/folder"),
)

#: What this machine has not, and a worker's may have
_OF_A_WORKER: tuple[tuple[str, str, Any], ...] = (
    ("compute_hardness", "device", "cuda:99"),
    ("generate_honeyimages", "device", "cuda:99"),
    ("audit_release", "device", "mps"),
    ("audit_release", "export_dir", "/data/of the worker"),
    ("audit_release", "export_dir", "no such folder"),
    ("verify_model", "device", "cuda:99"),
    ("verify_model", "suspect", "/data/of the worker/suspect.pt"),
    ("verify_model", "suspect", "~/no such folder/it's.onnx"),
    ("verify_model", "references", ["/data/of the worker/innocent.pt"]),
)

#: What is typed where a run or a field is named
_NAMES = ("", "theirs", "honey", "filepath", "a\nb", "\ud800", -1, [], {}, True)


@dataclass
class Driver:
    """Fills a form, and executes what it accepts up to the first thing that takes long.

    Attributes:
        case: the operator
        dataset: the open dataset
        paths: what names of paths stand for
        outcomes: how often it accepted and refused
    """

    case: Case
    dataset: Any
    paths: dict[str, str]
    outcomes: dict[str, int] = field(default_factory=lambda: {"accepted": 0, "refused": 0})

    def __call__(
        self, params: dict[str, Any], prompt: bool = False, scheduled: bool = False
    ) -> list[str]:
        """Fills the form and executes what it accepts.

        Args:
            params: what it is filled with
            prompt (False): whether somebody has it open
            scheduled (False): whether it is for a worker

        Returns:
            what an accepted form says that this machine lacks
        """
        operators = importlib.import_module("fiftyone.operators")
        executor = importlib.import_module("fiftyone.operators.executor")
        operator = operators.get_operator(f"{PLUGIN}/{self.case.name}")
        params = {
            name: self.paths.get(value, value) if isinstance(value, str) else value
            for name, value in params.items()
        }
        request: dict[str, Any] = {
            "params": params,
            "dataset_name": self.dataset.name,
            "view": [],
            "request_delegation": scheduled,
        }
        if prompt:
            request["prompt_id"] = "prompt"
        ctx = executor.ExecutionContext(
            request, executor=executor.Executor(), operator_uri=operator.uri
        )
        # Loaded anew for each form it would take half the time, and nothing here edits it
        ctx._dataset = self.dataset
        inputs = operator.resolve_type(ctx, "inputs")
        if inputs is not None:
            json.dumps(inputs.to_json(), allow_nan=False)
        if executor.ValidationContext(ctx, inputs, operator).invalid:
            self.outcomes["refused"] += 1
            return []
        self.outcomes["accepted"] += 1
        operator.resolve_run_name(ctx)
        lacking = _lacking(inputs)
        assert scheduled or not lacking
        errors = importlib.import_module(
            f"{type(operator).__module__.rpartition('.operators.')[0]}.core.errors"
        )
        try:
            operator.execute(ctx)
        except _ReachedError:
            return lacking
        except errors.HoneyImageError as error:
            if not any(_names(str(error), place) for place in lacking):
                raise
            return lacking
        assert not self.case.stops, "execution went on where it should have been stopped"
        return lacking


def _lacking(inputs: Any) -> list[str]:
    """The devices and files that a form says this machine lacks."""
    if inputs is None:
        return []
    found = []
    for name, prop in inputs.type.properties.items():
        if "elsewhere" in name:
            told = re.fullmatch(
                r".* no (?:file |folder )?'(.+)'( on the App's machine)?", prop.view.label
            )
            assert told is not None, prop.view.label
            found.append(told[1])
    return found


def _names(message: str, place: str) -> bool:
    """Whether an error is about a device or a file that is not there."""
    gone = ("is not available", "is neither a file nor a field", "there is no release at")
    named = place in message or str(Path(place).expanduser()) in message
    return named and any(words in message for words in gone)


@pytest.fixture
def drive(
    request: pytest.FixtureRequest,
    workshop: tuple[Any, dict[str, str]],
    stop: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Driver:
    """Drives the form of the test's case, in an empty folder."""
    case = request.getfixturevalue("case")
    monkeypatch.chdir(tmp_path)
    for place in case.stops:
        stop(place)
    return Driver(case, *workshop)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nonsense_is_neither_raised_nor_accepted(case: Case, drive: Driver) -> None:
    drive(case.usual)
    assert drive.outcomes["accepted"], "what is usual is accepted"
    if not case.fields:
        return

    nonsensical = st.one_of(VALUES, st.sampled_from([*drive.paths]))
    change = st.sampled_from(case.fields).flatmap(
        lambda name: st.tuples(
            st.just(name), st.one_of(st.sampled_from(USUAL.get(name, (None,))), nonsensical)
        )
    )

    @settings(
        max_examples=40,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(change, min_size=1, max_size=3).map(dict), st.booleans(), st.booleans())
    def nonsense(changed: dict[str, Any], prompt: bool, scheduled: bool) -> None:
        drive({**case.usual, **changed}, prompt, scheduled)

    nonsense()
    assert drive.outcomes["accepted"] > 2, "nothing was executed"
    assert drive.outcomes["refused"] > 2


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.fields], ids=lambda case: case.name
)
def test_every_field_takes_every_value(case: Case, drive: Driver) -> None:
    values = [*TEXTS, *NUMBERS, None, True, [], ["x"], [None], {}, {"x": 1}, *drive.paths]
    fields = [name for name in case.fields if name not in _FIRST]
    # Each value comes by each field once, in the company of others
    for shift in range(len(values)):
        filled = {name: values[(shift + at) % len(values)] for at, name in enumerate(fields)}
        drive({**case.usual, **filled})


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.fields], ids=lambda case: case.name
)
def test_a_path_that_is_accepted_can_be_used(case: Case, drive: Driver) -> None:
    for name in set(_PATHS) & set(case.fields):
        for text in (*_PATH_TEXTS, *drive.paths):
            drive({**case.usual, name: text})
    for name in set(_FIRST) & set(case.fields):
        for value in _NAMES:
            drive({**case.usual, name: value})


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.name in {operator for operator, _, _ in _OF_A_WORKER}],
    ids=lambda case: case.name,
)
def test_what_a_worker_may_have_is_accepted_for_it_alone(case: Case, drive: Driver) -> None:
    for operator, name, value in _OF_A_WORKER:
        if operator != case.name:
            continue
        filled = {**case.usual, name: value}
        refused = drive.outcomes["refused"]
        drive(filled)
        assert drive.outcomes["refused"] == refused + 1, "executed at once it fails"
        assert drive(filled, scheduled=True), "it says what is not here"
