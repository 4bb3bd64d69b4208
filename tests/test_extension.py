"""Methods, a score, a test, a suspect and a format are one file and one registration each: the examples of docs/extending.md.

Method, score and test go through SDK, form, ledger, evidence, panels and audit with nothing else changed, and so does what
tests/extension/ adds: a method with secrets, and a suspect that remembers them.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiftyone_honeyimage.core import codecs, images
from fiftyone_honeyimage.core.errors import ImageError
from fiftyone_honeyimage.core.files import sha256_file
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence
from fiftyone_honeyimage.core.ledger.ledger import load_ledger
from fiftyone_honeyimage.core.pipeline.verify import Call, begin, decide
from fiftyone_honeyimage.core.suspects import loading
from fiftyone_honeyimage.core.suspects.journal import Journal

ROOT = Path(__file__).resolve().parents[1]
TOYS = ROOT / "tests" / "extension"
GOLDEN = ROOT / "tests" / "golden" / "format2" / "fixed"
PLUGIN = "@honeyimage/ownership"


def _load(name: str, package: str = "fiftyone_honeyimage") -> Any:
    """A toy or an example as a module of its own, which imports from one of the two copies of the code."""
    if name.startswith("toy_"):
        source = (TOYS / f"{name}.py").read_text(encoding="utf-8")
    else:
        text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
        source = text.split(f"<!-- {name} -->\n```python\n")[1].split("```")[0]
    module = types.ModuleType(f"{package}_{name}".replace(".", "_"))
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source.replace("fiftyone_honeyimage", package), name, "exec"), module.__dict__)
    return module


@pytest.fixture
def toys(fo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The four registrations, in the SDK and in the plugin, which FiftyOne loads as a second copy."""
    operators = importlib.import_module("fiftyone.operators")
    plugin = type(operators.get_operator(f"{PLUGIN}/list_runs")).__module__
    for package in (plugin.rpartition(".operators.")[0], "fiftyone_honeyimage"):
        methods, scores, tests, suspects = (
            importlib.import_module(f"{package}.core.{name}")
            for name in ("methods", "scores", "evidence.exact_tests", "suspects")
        )
        method, keys, score, test, suspect = (
            _load(name, package) for name in ("method", "toy_keys", "score", "test", "toy_suspect")
        )
        monkeypatch.setattr(method.Frame, "score", "root")
        monkeypatch.setitem(methods.METHODS, "frame", method.Frame())
        monkeypatch.setitem(methods.METHODS, "toy_keys", keys.ToyKeys())
        monkeypatch.setitem(scores.SCORES, "root", score.Root())
        monkeypatch.setitem(tests.TESTS, "count_won", test.CountWon())
        kinds = {"toy": suspect.ToySuspect, **suspects.SUSPECTS}
        monkeypatch.setitem(suspects.SUSPECTS, "toy", kinds["toy"])
        marking = importlib.import_module(f"{package}.core.pipeline.crafting")
        monkeypatch.setattr(marking, "_load_lpips", lambda file: (None, "not asked for"))


@pytest.fixture
def call(fo: Any) -> Callable[..., Any]:
    """Executes an operator, or resolves its form: ``call("verify_model", dataset, form=True, …)``."""
    operators = importlib.import_module("fiftyone.operators")
    executor = importlib.import_module("fiftyone.operators.executor")

    def run(name: str, dataset: Any, form: bool = False, **params: Any) -> Any:
        uri = f"{PLUGIN}/{name}"
        if not form:
            return operators.execute_operator(uri, dataset=dataset, params=params)
        request = {"dataset_name": dataset.name, "params": params}
        ctx = executor.ExecutionContext(request, operator_uri=uri)
        return operators.get_operator(uri).resolve_type(ctx, "inputs").to_json()

    return run


def _tiny(epochs: int) -> dict[str, Any]:
    """A proxy that is trained in no time."""
    training = {"epochs": epochs, "batch_size": 32}
    return {"proxy": "resnet_tiny", "training": training, "device": "cpu"}


def _invalid(form: dict[str, Any]) -> dict[str, str]:
    found = form["type"]["properties"]
    return {name: prop["error_message"] for name, prop in found.items() if prop["invalid"]}


def test_four_files_from_the_form_to_checked_evidence(
    toys: None, make_digits_dataset: Callable[..., Any], call: Callable[..., Any], tmp_path: Path
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_digits_dataset(num=72, size=8)
    tiny = _tiny(epochs=4)
    fhi.compute_hardness(dataset, "ground_truth", progress=False, **tiny)

    # The SDK tells the method's options and refuses those of others
    assert fhi.method_options("frame")["levels"][0] == 3
    asked = {"label_field": "ground_truth", "num_pairs": 14, "exclude": (), **tiny}
    with pytest.raises(fhi.ParameterError, match="levels must be"):
        fhi.generate_honeyimages(dataset, honey_key="honey", method="frame", levels=99, **asked)

    # The form asks for them, and offers method, score and test by their titles
    given = {
        **asked,
        "exclude": [],
        "honey_key": "honey",
        "method": "frame",
        "test": "count_won",
    }
    form = call("generate_honeyimages", dataset, form=True, advanced=True, **given)
    assert _invalid(form) == {}
    properties = form["type"]["properties"]
    text = json.dumps(form)
    assert properties["levels"]["view"]["label"] == "Brightness of the frame"
    for words in ("Brightens the frame of an image", "By the root of how", "Counts the pairs that"):
        assert words in text
    assert properties["score"]["default"] == "root", "a method brings its own score"
    wrong = call("generate_honeyimages", dataset, form=True, advanced=True, **given, levels=99)
    assert "levels" in _invalid(wrong)

    # Marked by the App's operator, with the method's score and the wished test in the ledger
    folder = tmp_path / "honey"
    call("generate_honeyimages", dataset, **given, levels=4, output_dir=str(folder))
    dataset.reload()
    marking = fhi.load_marking(dataset, "honey")
    ledger = marking.load_ledger()
    assert (ledger.plan.score, ledger.plan.test) == ("root", "count_won")
    assert ledger.header["levels"] == marking.config["levels"] == 4
    assert marking.worst["linf"] == 4

    # Released and audited
    release = tmp_path / "release"
    report = fhi.export_release(dataset, "honey", release, progress=False)
    assert report.num_honeyimages == marking.num_honeyimages
    audit = fhi.audit_release(release, marking.ledger_path, dataset, progress=False)
    assert audit.num_marked == marking.num_honeyimages

    # The suspect is known by its text, in form and SDK
    suspect = f"toy:{release}"
    form = call("verify_model", dataset, form=True, honey_key="honey", suspect=suspect)
    assert _invalid(form) == {}
    unknown = call("verify_model", dataset, form=True, honey_key="honey", suspect="tay:nothing")
    assert "a toy model as toy:<folder>" in json.dumps(unknown)
    found = call("verify_model", dataset, honey_key="honey", suspect=suspect, verify_key="thief")
    verdict = found.result["verdict"]
    assert verdict["verdict"] == "derived"
    assert verdict["test"] == "count_won"
    assert verdict["p_value"] == 2.0**-14
    assert "exact count of pairs won" in verdict["statement"]
    (tmp_path / "empty").mkdir()
    innocent = fhi.verify_model(
        dataset, "honey", f"toy:{tmp_path / 'empty'}", insist=True, progress=False
    )
    assert innocent.verdict.verdict == "not shown"

    # Panels show it, evidence holds it and the checker repeats it
    dataset.reload()
    for panel, words in (
        ("protect_panel", "Brightens the frame of an image"),
        ("verification_panel", "exact count of pairs won"),
    ):
        shown = call(panel, dataset, panel_id="panel", __method__="on_load", panel_state={})
        assert words in json.dumps([request.params for request in shown.executor._requests])
    path = tmp_path / "evidence.json"
    fhi.export_evidence(dataset, "thief", path)
    checked = check_evidence(path, commitment=marking.commitment, release=release)
    assert checked.failed == ()
    assert checked.verdict.p_value == 2.0**-14


def test_secrets_in_several_images_with_other_labels_asked_about_in_others(
    toys: None, make_digits_dataset: Callable[..., Any], call: Callable[..., Any], tmp_path: Path
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_digits_dataset(num=180, size=8)
    tiny = _tiny(epochs=2)
    fhi.compute_hardness(dataset, "ground_truth", progress=False, **tiny)
    before = dict(zip(*dataset.values(["id", "ground_truth.label"]), strict=True))
    asked: dict[str, Any] = {
        "label_field": "ground_truth", "honey_key": "keys", "method": "toy_keys", "num_pairs": 16,
        "exclude": [], **tiny,
    }  # fmt: skip
    with pytest.raises(fhi.ParameterError, match="multiple of num_pairs"):
        fhi.generate_honeyimages(dataset, **asked, num_honeyimages=33)
    form = call("generate_honeyimages", dataset, form=True, **asked, num_honeyimages=32)
    assert _invalid(form) == {}
    assert "**32 images withheld**" in json.dumps(form)
    assert "**other labels**" in json.dumps(form)

    # Two images a side; the ledger holds both labels, the secrets, and what will be asked about
    marking = fhi.generate_honeyimages(dataset, **asked, num_honeyimages=32, progress=False)
    ledger = marking.load_ledger()
    assert len(ledger.marked_images) == 64
    for pair in ledger.pairs:
        for side in (pair.a, pair.b):
            assert (len(side.files), len(side.probes)) == (2, 3)
            assert {image.label for image in side.asked} == {"0"}
            assert all(image.source_label == before[image.sample_id] for image in side.files)
            assert len(side.secret["corner"]) == 12
    assert (
        dict(zip(*dataset.select(list(before)).values(["id", "ground_truth.label"]), strict=True))
        == before
    )

    # The release has the new labels on the released sides, and nothing of the others
    release = tmp_path / "release"
    report = fhi.export_release(dataset, "keys", release, progress=False)
    assert (report.num_honeyimages, report.num_withheld, report.num_images) == (32, 32, 145)
    # Neither name nor place tells what an image shows: numbers are dealt out at random
    place = {sha256_file(path): row for row, path in enumerate(dataset.values("filepath"))}
    unmarked = {int(path.stem): place.get(sha256_file(path)) for path in release.rglob("*.png")}
    order = [row for _, row in sorted(unmarked.items()) if row is not None]
    assert len(order) == 145
    assert abs(np.corrcoef(order, range(len(order)))[0, 1]) < 0.5
    files = {sha256_file(path): path for path in release.rglob("*.png")}
    assert all(files[image.marked_sha256].parent.name == "0" for image in ledger.released_images())
    assert fhi.audit_release(release, marking.ledger_path, dataset, progress=False).num_marked == 32

    # Who learned the corners is found by what he answers on other images, with scores and with labels alone
    suspect = f"toy:{release}#corners"
    thief = fhi.verify_model(
        dataset, "keys", suspect, verify_key="thief", insist=True, progress=False
    )
    assert thief.verdict.verdict == "derived"
    assert thief.verdict.p_value == 2.0**-16
    assert set(thief.verdict.paper) == {"decisions"}, "a loss gap is of images of a release"
    labels = fhi.verify_model(
        dataset, "keys", f"toy:{release}#labels", verify_key="labels", insist=True, progress=False
    )
    assert (labels.verdict.kind, labels.verdict.verdict) == ("labels", "derived")
    (tmp_path / "empty").mkdir()
    innocent = fhi.verify_model(
        dataset, "keys", f"toy:{tmp_path / 'empty'}", insist=True, progress=False
    )
    assert innocent.verdict.verdict == "not shown"

    dataset.reload()
    for panel, words in (
        ("protect_panel", "so that 32 images are withheld"),
        ("verification_panel", "exact signed-rank test"),
    ):
        shown = call(panel, dataset, panel_id="panel", __method__="on_load", panel_state={})
        assert words in json.dumps([request.params for request in shown.executor._requests])
    for key in ("thief", "labels"):
        path = tmp_path / f"{key}.json"
        fhi.export_evidence(dataset, key, path)
        checked = check_evidence(
            path, commitment=marking.commitment, release=release, images=marking.output_dir
        )
        assert checked.failed == ()


def test_a_suspect_of_the_documents_is_known_by_its_text_and_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest = _load("suspect").NearestNeighbour
    monkeypatch.setattr(loading, "SUSPECTS", {"nearest": nearest, **loading.SUSPECTS})
    folder = tmp_path / "marking"
    shutil.copytree(GOLDEN / "marking", folder)
    ledger = load_ledger(next(folder.glob("ledger*.json")))
    losses = {image.sample_id: 1.0 for image in ledger.marked_images}
    assert nearest.title in loading.titles()

    found = {}
    for name, where in (("thief", GOLDEN / "release"), ("innocent", GOLDEN / "other")):
        if name == "innocent":
            # Of each pair it holds neither twin, but all that no coin decided about
            where = tmp_path / name
            marked = {image.marked_sha256 for image in ledger.marked_images}
            for path in (GOLDEN / "release").rglob("*.*"):
                if sha256_file(path) not in marked:
                    (where / path.parent.name).mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, where / path.parent.name)
        suspect = loading.load_suspect(f"nearest:{where}", name=name)
        assert isinstance(suspect, nearest)
        call = Call(ledger, folder, losses, suspect, [str(k) for k in range(4)], insist=True)
        with Journal.open(ledger.path, call.key()) as journal:
            found[name] = decide(call, begin(call, journal), journal)
    assert found["thief"].verdict == "derived"
    assert found["thief"].p_value == 2.0 ** -len(ledger.pairs)
    assert found["innocent"].p_value > 1e-6, "one of a million fair coins"


@pytest.mark.parametrize("options", [{}, {"compression": "tga_rle"}, {"orientation": 1}])
def test_a_format_of_the_documents_keeps_all_but_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Any, options: dict[str, Any]
) -> None:
    path = tmp_path / "image.tga"
    Image.fromarray(digits[0][0]).convert("RGB").save(
        path, id_section=b"from the scanner", **options
    )
    with pytest.raises(ImageError, match="not an image in a supported format"):
        codecs.check_markable(path)

    monkeypatch.setattr(images, "FORMATS", (*images.FORMATS, "TGA"))
    monkeypatch.setitem(codecs.CODECS, "TGA", _load("format").TgaCodec)
    codecs.check_markable(path)
    pixels = images.read_image(path)
    assert codecs.encode_like(path, pixels) == path.read_bytes()
    pixels[2, 3] += 3
    marked = tmp_path / "marked.tga"
    marked.write_bytes(codecs.encode_like(path, pixels))
    assert np.array_equal(images.read_image(marked), pixels)
    with Image.open(path) as before, Image.open(marked) as after:
        assert before.info == after.info
        assert after.info["id_section"] == b"from the scanner"
