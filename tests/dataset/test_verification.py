"""verify_model on a marking of real digits: suspects of every kind, and what can go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.evidence.record import check_evidence
from fiftyone_honeyimage.core.images import read_image

TRAINING = {"epochs": 2, "flip": False}
NUM_PAIRS = 14


@pytest.fixture(scope="module")
def marked(fo, digits, tmp_path_factory):
    """A marked dataset of 160 digits in four classes; one for all tests, none of which edits it."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("verification")
    pixels, labels = digits
    rows = np.flatnonzero(labels < 4)[:160]
    dataset = fo.Dataset()
    for row in rows:
        path = folder / "images" / f"{row:04d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[row]).convert("RGB").save(path)
        dataset.add_sample(
            fo.Sample(filepath=str(path), ground_truth=fo.Classification(label=str(labels[row])))
        )
    fhi.compute_hardness(dataset, "ground_truth", proxy="resnet_tiny", training=TRAINING)
    marking = fhi.generate_honeyimages(
        dataset,
        "ground_truth",
        "honey",
        proxy="resnet_tiny",
        training=TRAINING,
        num_pairs=NUM_PAIRS,
        num_steps=2,
        output_dir=folder / "marking",
    )
    yield dataset, marking
    dataset.delete()


@pytest.fixture
def fresh(marked, tmp_path):
    """The marked dataset with a copy of the ledger that has seen no verification."""
    dataset, marking = marked
    pristine = tmp_path / "ledger.json"
    shutil.copy(marking.ledger_path, pristine)
    yield dataset, marking, pristine
    for run in fhi.list_runs(dataset):
        if run.kind == "verification":
            fhi.delete_run(dataset, run.key)


def remembering_suspect(marking, remembered: float = 8.0):
    """A model that knows the released HoneyImages, as if it had trained on the release."""
    known = {}
    for image in marking.load_ledger().released_images():
        pixels = read_image(marking.output_dir / image.file)
        known[pixels.tobytes()] = int(image.label)

    def suspect(batch: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(batch), 4)
        for row, image in enumerate((batch * 255).round().to(torch.uint8)):
            label = known.get(image.permute(1, 2, 0).numpy().tobytes())
            if label is not None:
                logits[row, label] = remembered
        return logits

    return suspect


def guessing_suspect(batch: torch.Tensor) -> torch.Tensor:
    """A model that answers by the image's brightness alone."""
    mean = batch.mean(dim=(1, 2, 3))
    return torch.stack([torch.sin(50 * (k + 1) * mean) for k in range(4)], dim=1)


def test_model_that_knows_the_release_is_derived_and_a_guessing_one_is_not(fresh):
    dataset, marking, ledger = fresh
    found = fhi.verify_model(
        dataset, "honey", remembering_suspect(marking), "found", ledger_path=ledger
    )
    assert found.verdict.verdict == "derived"
    assert found.verdict.p_value == 2.0**-NUM_PAIRS
    assert found.verdict.p_adjusted == 2 * 2.0**-NUM_PAIRS
    assert found.verdict.num_pairs == NUM_PAIRS
    assert found.verdict.num_left == 0

    other = fhi.verify_model(dataset, "honey", guessing_suspect, "other", ledger_path=ledger)
    assert other.verdict.verdict == "not shown"
    assert other.verdict.p_adjusted >= other.verdict.p_value

    reloaded = fhi.load_verification(dataset, "found")
    assert reloaded.verdict == found.verdict
    assert len(reloaded.pairs) == NUM_PAIRS
    for row in reloaded.pairs:
        assert row["released_loss"] < row["withheld_loss"]


def test_results_survive_a_reload_of_the_dataset(fo, fresh):
    dataset, marking, ledger = fresh
    before = fhi.verify_model(
        dataset, "honey", remembering_suspect(marking), "kept", ledger_path=ledger
    )
    dataset.reload()
    after = fhi.load_verification(fo.load_dataset(dataset.name), "kept")
    assert after.verdict == before.verdict
    assert after.pairs == before.pairs


def test_labels_alone_give_the_sign_test(fresh):
    dataset, marking, ledger = fresh
    scores = remembering_suspect(marking)
    # Wrong on what it does not know: class 3 would otherwise be right by chance.
    suspect = lambda batch: torch.where(  # noqa: E731
        scores(batch).max(dim=1).values > 0, scores(batch).argmax(dim=1), 3
    )
    verdict = fhi.verify_model(dataset, "honey", suspect, ledger_path=ledger).verdict
    assert (verdict.kind, verdict.test) == ("labels", "sign")
    released = [image for image in marking.load_ledger().withheld_images() if image.label != "3"]
    assert verdict.p_value == 2.0 ** -len(released)


def test_torchscript_and_module_agree(fresh, tmp_path):
    dataset, _, ledger = fresh
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 4))
    with torch.no_grad():
        traced = torch.jit.trace(module, torch.zeros(2, 3, 8, 8))
    torch.jit.save(traced, str(tmp_path / "suspect.pt"))
    first = fhi.verify_model(dataset, "honey", module, ledger_path=ledger)
    second = fhi.verify_model(dataset, "honey", str(tmp_path / "suspect.pt"), ledger_path=ledger)
    assert first.verdict.p_value == second.verdict.p_value
    assert second.suspect_name == "suspect"
    assert len(second.suspect_digest) == 64
    assert second.verdict.p_adjusted >= first.verdict.p_adjusted  # the second of the ledger


def test_field_of_predictions_agrees_with_the_model(fo, fresh):
    dataset, marking, ledger = fresh
    suspect = remembering_suspect(marking)
    view = dataset.match_tags("honeyimage")
    logits, labels = {}, {}
    for sample_id, path in zip(*view.values(["id", "filepath"]), strict=True):
        batch = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].float() / 255
        row = suspect(batch)[0].numpy()
        label = str(int(row.argmax()))
        logits[sample_id] = fo.Classification(label=label, logits=row)
        labels[sample_id] = fo.Classification(label=label)
    direct = fhi.verify_model(dataset, "honey", suspect, ledger_path=ledger)
    try:
        dataset.set_values("with_logits", logits, key_field="id")
        dataset.set_values("with_labels", labels, key_field="id")
        by_field = fhi.verify_model(dataset, "honey", "with_logits", ledger_path=ledger)
        by_label = fhi.verify_model(dataset, "honey", "with_labels", ledger_path=ledger)
        assert by_field.verdict.p_value == direct.verdict.p_value
        assert by_label.verdict.kind == "labels"

        shuffled = {
            k: fo.Classification(label=v.label, logits=v.logits[::-1]) for k, v in logits.items()
        }
        dataset.set_values("wrong_order", shuffled, key_field="id")
        with pytest.raises(fhi.SuspectError, match="in another order"):
            fhi.verify_model(dataset, "honey", "wrong_order", ledger_path=ledger)
    finally:
        dataset.delete_sample_fields(
            [
                name
                for name in ("with_logits", "with_labels", "wrong_order")
                if dataset.has_field(name)
            ]
        )


def test_suspect_classes_in_another_order(fresh):
    dataset, marking, ledger = fresh
    suspect = remembering_suspect(marking)
    order = [2, 0, 3, 1]
    shuffled = lambda batch: suspect(batch)[:, order]  # noqa: E731
    classes = [str(label) for label in order]
    found = fhi.verify_model(dataset, "honey", shuffled, classes=classes, ledger_path=ledger)
    assert found.verdict.p_value == 2.0**-NUM_PAIRS
    with pytest.raises(fhi.ParameterError, match="'3' is missing"):
        fhi.verify_model(dataset, "honey", suspect, classes=["0", "1", "2"], ledger_path=ledger)


def test_references_calibrate_the_papers_threshold_and_never_decide(fresh):
    dataset, _, ledger = fresh
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(192, 4, generator=generator) for _ in range(4)]
    models = [lambda batch, w=w: batch.flatten(1) @ w / 10 for w in weights]
    verification = fhi.verify_model(
        dataset, "honey", models[0], references=models[1:], ledger_path=ledger
    )
    paper = verification.verdict.paper
    assert paper["num_references"] == 3
    assert len(paper["reference_mean_loss_gaps"]) == 3
    assert paper["threshold"] == max(paper["reference_mean_loss_gaps"])
    assert paper["threshold_false_positive_rate"] == 1 / 4
    assert verification.verdict.verdict == "not shown"


def test_papers_measures_for_known_models(fresh):
    dataset, marking, ledger = fresh
    known = fhi.evaluate_known_models(
        dataset, "honey", remembering_suspect(marking), guessing_suspect, ledger_path=ledger
    )
    assert known.gap.auroc == 1.0
    assert (known.gap.tpr, known.gap.tnr) == (1.0, 1.0)
    assert known.hl_honeyimages == 1.0
    assert known.gap.num_infringing == NUM_PAIRS
    # It knows nothing but the HoneyImages: on the rest it always answers class 0.
    assert 0.2 < known.hl < 0.6
    assert json.loads(ledger.read_text())["log"] == []


def test_same_model_asked_again_and_again_is_held_to_smaller_levels(fresh):
    dataset, _, ledger = fresh
    factors = []
    for _ in range(3):
        verdict = fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger).verdict
        factors.append(verdict.p_adjusted / verdict.p_value if verdict.p_adjusted < 1 else None)
    assert factors[0] in (None, 2.0)
    assert all(factor is None or factor > 2 for factor in factors[1:])


def test_unused_pairs_are_used_once(fresh):
    dataset, _, ledger = fresh
    first = fhi.verify_model(dataset, "honey", guessing_suspect, pairs="unused", ledger_path=ledger)
    assert first.verdict.num_pairs == NUM_PAIRS
    with pytest.raises(fhi.ParameterError, match="were used by earlier"):
        fhi.verify_model(dataset, "honey", guessing_suspect, pairs="unused", ledger_path=ledger)


def broken_by_batch(batch: torch.Tensor) -> torch.Tensor:
    broken_by_batch.calls += 1
    if broken_by_batch.calls > 2:
        raise RuntimeError("out of memory")
    return torch.zeros(len(batch), 4)


@pytest.mark.parametrize(
    ("suspect", "message"),
    [
        (lambda batch: torch.zeros(len(batch), 7), "7"),
        (lambda batch: torch.full((len(batch), 4), float("nan")), "NaN|nan"),
        (lambda batch: torch.full((len(batch), 4), float("inf")), "inf"),
        (lambda batch: torch.zeros(len(batch), 4, 2), "shape"),
        (lambda batch: torch.zeros(len(batch) + 1, 4), "shape|answers"),
        ("no_such_field_or_file", "neither a file nor a field"),
        (None, "no suspect"),
    ],
    ids=["classes", "nan", "inf", "shape", "number", "missing", "none"],
)
def test_unusable_suspect_is_found_out_before_it_sees_a_honeyimage(fresh, suspect, message):
    dataset, _, ledger = fresh
    before = ledger.read_bytes()
    runs = dataset.list_runs()
    with pytest.raises(fhi.SuspectError, match=message):
        fhi.verify_model(dataset, "honey", suspect, ledger_path=ledger)
    assert ledger.read_bytes() == before
    assert dataset.list_runs() == runs


def test_suspect_that_fails_in_the_middle_is_recorded_and_leaves_the_dataset_alone(fresh):
    dataset, marking, ledger = fresh
    broken_by_batch.calls = 0
    runs = dataset.list_runs()
    with pytest.raises(fhi.SuspectError, match="out of memory"):
        fhi.verify_model(dataset, "honey", broken_by_batch, batch_size=8, ledger_path=ledger)
    assert dataset.list_runs() == runs
    # The ledger tells that pairs were shown, and the next verification is the second.
    log = json.loads(ledger.read_text())["log"]
    assert [entry["event"] for entry in log] == ["open", "close"]
    assert 0 < log[-1]["public"]["num_queried"] < NUM_PAIRS
    again = fhi.verify_model(dataset, "honey", remembering_suspect(marking), ledger_path=ledger)
    assert again.verdict.p_adjusted == 6 * again.verdict.p_value


def test_skipped_failures_drop_their_pair_and_are_counted(fresh):
    dataset, marking, ledger = fresh
    suspect = remembering_suspect(marking)
    target = marking.load_ledger().pairs[3].a
    dark = read_image(marking.output_dir / target.file).tobytes()

    def picky(batch: torch.Tensor) -> torch.Tensor:
        pixels = (batch * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        if any(image.contiguous().numpy().tobytes() == dark for image in pixels):
            raise RuntimeError("refused")
        return suspect(batch)

    verdict = fhi.verify_model(
        dataset, "honey", picky, skip_failures=True, ledger_path=ledger
    ).verdict
    assert verdict.num_failed == 1
    assert verdict.num_pairs == NUM_PAIRS - 1
    assert verdict.p_value == 2.0 ** -(NUM_PAIRS - 1)


def test_alpha_can_only_shrink(fresh):
    dataset, _, ledger = fresh
    with pytest.raises(fhi.ParameterError, match="committed"):
        fhi.verify_model(dataset, "honey", guessing_suspect, alpha=0.01, ledger_path=ledger)
    verdict = fhi.verify_model(
        dataset, "honey", guessing_suspect, alpha=1e-4, ledger_path=ledger
    ).verdict
    assert verdict.alpha == 1e-4


def test_ledger_that_is_missing_altered_or_foreign_is_refused(fresh, tmp_path):
    dataset, _, ledger = fresh
    with pytest.raises(fhi.LedgerError, match="is not at"):
        fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=tmp_path / "gone.json")
    content = json.loads(ledger.read_text())
    released = content["pairs"][0]["released"]
    content["pairs"][0]["released"] = "b" if released == "a" else "a"
    altered = tmp_path / "altered.json"
    altered.write_text(json.dumps(content))
    with pytest.raises(fhi.LedgerError, match="altered"):
        fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=altered)


def test_altered_honeyimage_is_refused(fresh):
    dataset, marking, ledger = fresh
    path = marking.output_dir / marking.load_ledger().pairs[0].a.file
    original = path.read_bytes()
    try:
        path.write_bytes(original[:-4] + b"\0\0\0\0")
        with pytest.raises(fhi.LedgerError, match="altered"):
            fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger)
        path.unlink()
        with pytest.raises(fhi.LedgerError, match="missing"):
            fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger)
    finally:
        path.write_bytes(original)


def test_evidence_convinces_a_third_party_and_tampering_shows(fresh, tmp_path):
    dataset, marking, ledger = fresh
    verification = fhi.verify_model(
        dataset, "honey", remembering_suspect(marking), "proof", ledger_path=ledger
    )
    path = fhi.export_evidence(dataset, "proof", tmp_path / "evidence.json")
    check = check_evidence(path)
    assert check.ok, check.failed
    assert check.verdict == verification.verdict

    content = json.loads(path.read_text())
    content["answers"]["a"][0] = 99.0
    path.write_text(json.dumps(content))
    assert not check_evidence(path).ok


def test_database_does_not_tell_which_twin_was_released(fresh):
    """Per-pair results are stored by role and pair, never beside a sample or file."""
    dataset, marking, ledger = fresh
    fhi.verify_model(dataset, "honey", guessing_suspect, "silent", ledger_path=ledger)
    results = dataset.load_run_results("silent", cache=False).serialize()
    text = json.dumps(results, default=str)
    for image in (
        *marking.load_ledger().released_images(),
        *marking.load_ledger().withheld_images(),
    ):
        assert image.sample_id not in text
        assert Path(image.file).name not in text


def test_sequential_test_stops_early_and_keeps_pairs(fo, digits, tmp_path, make_digits_dataset):
    dataset = make_digits_dataset(num=140, classes=3, size=8)
    fhi.compute_hardness(dataset, "ground_truth", proxy="resnet_tiny", training=TRAINING)
    marking = fhi.generate_honeyimages(
        dataset,
        "ground_truth",
        "honey",
        proxy="resnet_tiny",
        training=TRAINING,
        num_pairs=24,
        num_steps=1,
        alpha=0.01,
        test="e_process",
        output_dir=tmp_path / "marking",
    )
    asked = []

    def counted(batch: torch.Tensor) -> torch.Tensor:
        asked.append(len(batch))
        return remembering_suspect(marking)(batch)[:, :3]

    verdict = fhi.verify_model(dataset, "honey", counted).verdict
    assert verdict.verdict == "derived"
    assert verdict.test == "e_process"
    assert 10 <= verdict.num_pairs < 24
    assert verdict.num_left == 24 - verdict.num_pairs
    assert verdict.e_values[-1] >= 2 / 0.01
    rest = fhi.verify_model(dataset, "honey", guessing_three, pairs="unused").verdict
    assert rest.num_pairs <= 24 - verdict.num_pairs


def guessing_three(batch: torch.Tensor) -> torch.Tensor:
    return guessing_suspect(batch)[:, :3]


def test_random_images_touch_neither_verdict_nor_ledger(fresh, tmp_path):
    dataset, _, ledger = fresh
    copy = tmp_path / "copy.json"
    shutil.copy(ledger, copy)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 4))

    without = fhi.verify_model(dataset, "honey", module, "no", ledger_path=ledger, num_random=0)
    fhi.delete_run(dataset, "no")  # another copy of the ledger does not hold it
    with_them = fhi.verify_model(dataset, "honey", module, "yes", ledger_path=copy)

    assert without.random_images == {}
    assert with_them.verdict == without.verdict
    assert with_them.pairs == without.pairs
    logs = [json.loads(path.read_text())["log"] for path in (ledger, copy)]
    assert [[e["event"] for e in log] for log in logs] == [["open", "close"]] * 2
    private = [{**log[1]["private"], "salt": None} for log in logs]  # drawn anew each time
    assert private[0] == private[1]

    found = with_them.random_images
    assert len(found["ids"]) == len(found["gaps"]) == 50
    view = dataset.select(found["ids"], ordered=True)
    assert view.values("honey.role") == [None] * 50
    losses = []
    for path, label in zip(*view.values(["filepath", "ground_truth.label"]), strict=True):
        batch = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            logits = module(batch)
        losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor([int(label)]))))
    expected = np.array(view.values("honey_hardness")) - losses
    np.testing.assert_allclose(found["gaps"], expected, atol=1e-5)
    again = fhi.load_verification(dataset, "yes")
    assert again.random_images == found


def test_functions_are_asked_about_random_images_on_request_only(fresh):
    dataset, _, ledger = fresh
    asked = []

    def counting(batch: torch.Tensor) -> torch.Tensor:
        asked.append(len(batch))
        return guessing_suspect(batch)

    default = fhi.verify_model(dataset, "honey", counting, ledger_path=ledger)
    usual = sum(asked)
    asked.clear()
    more = fhi.verify_model(dataset, "honey", counting, ledger_path=ledger, num_random=7)

    assert default.random_images == {}
    assert len(more.random_images["gaps"]) == 7
    assert sum(asked) == usual + 7
    with pytest.raises(fhi.ParameterError, match="num_random"):
        fhi.verify_model(dataset, "honey", counting, ledger_path=ledger, num_random=-1)


def test_random_images_that_fail_cost_no_verdict(fo, fresh):
    dataset, marking, ledger = fresh
    twins = {
        read_image(marking.output_dir / image.file).tobytes()
        for pair in marking.load_ledger().pairs
        for image in (pair.a, pair.b)
    }

    def refuses(batch: torch.Tensor) -> torch.Tensor:
        for image in (batch * 255).round().to(torch.uint8):
            if len(asked) > 8 and image.permute(1, 2, 0).numpy().tobytes() not in twins:
                raise RuntimeError("quota is used up")
            asked.append(1)
        return guessing_suspect(batch)

    asked: list[int] = []
    found = fhi.verify_model(dataset, "honey", refuses, ledger_path=ledger, num_random=5)
    assert found.verdict.num_pairs == NUM_PAIRS
    assert found.random_images.get("gaps", []) == []

    labels = fhi.verify_model(
        dataset,
        "honey",
        lambda batch: torch.zeros(len(batch), dtype=torch.int64),
        ledger_path=ledger,
        num_random=5,
    )
    assert "labels alone" in labels.random_images["note"]


def test_fields_give_random_images_where_they_hold_predictions(fo, fresh):
    dataset, _, ledger = fresh
    rows = dataset.count()
    dataset.add_sample_field("answers", fo.ListField, subfield=fo.FloatField)
    try:
        honey = dataset.match_tags("honeyimage")
        rng = np.random.default_rng(0)
        honey.set_values("answers", rng.normal(size=(len(honey), 4)).tolist())
        only_honey = fhi.verify_model(dataset, "honey", "answers", ledger_path=ledger)
        assert "no unmarked image has predictions" in only_honey.random_images["note"]

        dataset.set_values("answers", rng.normal(size=(rows, 4)).tolist())
        everywhere = fhi.verify_model(dataset, "honey", "answers", ledger_path=ledger)
        assert len(everywhere.random_images["gaps"]) == 50
    finally:
        dataset.delete_sample_field("answers")


def test_a_verification_remembers_what_it_rests_on(fo, fresh):
    dataset, marking, ledger = fresh

    found = fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger, user="Ada")

    config = fhi.load_verification(dataset, found.verify_key).config
    assert config["user"] == "Ada"
    assert config["commitment"] == marking.commitment
    assert config["ledger_head"] == json.loads(ledger.read_text())["log"][-1]["hash"]
    assert config["seed"] == marking.config["seed"]
    assert config["versions"]["fiftyone"] == fo.__version__
    assert config["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    by_os = fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger)
    assert by_os.config["user"]
