"""verify_model on a marking of real digits, and what can go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.evidence.twins import signed_rank_test
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence

NUM_PAIRS = 14  # of the marked digits


def test_model_that_knows_the_release_is_derived_and_a_guessing_one_is_not(
    fresh, remembering_suspect, guessing_suspect
):
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


def test_results_survive_a_reload_of_the_dataset(fo, fresh, remembering_suspect):
    dataset, marking, ledger = fresh
    before = fhi.verify_model(
        dataset, "honey", remembering_suspect(marking), "kept", ledger_path=ledger
    )
    dataset.reload()
    after = fhi.load_verification(fo.load_dataset(dataset.name), "kept")
    assert after.verdict == before.verdict
    assert after.pairs == before.pairs


def test_labels_alone_give_the_sign_test(fresh, remembering_suspect):
    dataset, marking, ledger = fresh
    scores = remembering_suspect(marking)
    # Wrong on what it does not know: class 3 would otherwise be right by chance.
    suspect = lambda batch: torch.where(  # noqa: E731
        scores(batch).max(dim=1).values > 4, scores(batch).argmax(dim=1), 3
    )
    verdict = fhi.verify_model(dataset, "honey", suspect, ledger_path=ledger, insist=True).verdict
    assert (verdict.kind, verdict.test) == ("labels", "sign")
    released = [image for image in marking.load_ledger().withheld_images() if image.label != "3"]
    assert verdict.p_value == 2.0 ** -len(released)


def test_references_calibrate_the_papers_threshold_and_never_decide(fresh):
    dataset, _, ledger = fresh
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(192, 4, generator=generator) for _ in range(4)]
    models = [lambda batch, w=w: batch.flatten(1) @ w / 10 for w in weights]
    verification = fhi.verify_model(
        dataset, "honey", models[0], references=models[1:], ledger_path=ledger, insist=True
    )
    paper = verification.verdict.paper
    assert paper["num_references"] == 3
    assert len(paper["reference_mean_loss_gaps"]) == 3
    assert paper["threshold"] == max(paper["reference_mean_loss_gaps"])
    assert paper["threshold_false_positive_rate"] == 1 / 4
    assert verification.verdict.verdict == "not shown"


def by_brightness(batch: torch.Tensor) -> torch.Tensor:
    """A model that knows nothing: it answers by the image's brightness alone."""
    mean = batch.mean(dim=(1, 2, 3))
    return torch.stack([torch.sin(50 * (k + 1) * mean) for k in range(4)], dim=1)


def test_papers_measures_for_known_models(fresh, remembering_suspect):
    dataset, marking, ledger = fresh
    knows = remembering_suspect(marking, elsewhere=False)
    known = fhi.evaluate_known_models(dataset, "honey", knows, by_brightness, ledger_path=ledger)
    assert known.gap.auroc == 1.0
    assert (known.gap.tpr, known.gap.tnr) == (1.0, 1.0)
    assert known.hl_honeyimages == 1.0
    assert known.gap.num_infringing == NUM_PAIRS
    # It knows nothing but the HoneyImages: on the rest it always answers class 0.
    assert 0.2 < known.hl < 0.6
    assert json.loads(ledger.read_text(encoding="utf-8"))["log"] == []


def test_same_model_asked_again_and_again_is_held_to_smaller_levels(fresh, guessing_suspect):
    dataset, _, ledger = fresh
    factors = []
    for _ in range(3):
        verdict = fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger).verdict
        factors.append(verdict.p_adjusted / verdict.p_value if verdict.p_adjusted < 1 else None)
    assert factors[0] in (None, 2.0)
    assert all(factor is None or factor > 2 for factor in factors[1:])


def test_unused_pairs_are_used_once(fresh, guessing_suspect):
    dataset, _, ledger = fresh
    first = fhi.verify_model(dataset, "honey", guessing_suspect, pairs="unused", ledger_path=ledger)
    assert first.verdict.num_pairs == NUM_PAIRS
    with pytest.raises(fhi.ParameterError, match="were used by earlier"):
        fhi.verify_model(dataset, "honey", guessing_suspect, pairs="unused", ledger_path=ledger)


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


@pytest.mark.parametrize("skip_failures", [False, True])
def test_failures_count_their_pair_against_the_owner(fresh, remembering_suspect, skip_failures):
    dataset, marking, ledger = fresh
    suspect = remembering_suspect(marking)
    (target,) = marking.load_ledger().pairs[3].a.files
    dark = read_image(marking.output_dir / target.file).tobytes()

    def picky(batch: torch.Tensor) -> torch.Tensor:
        pixels = (batch * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        if any(image.contiguous().numpy().tobytes() == dark for image in pixels):
            raise RuntimeError("refused")
        return suspect(batch)

    found = fhi.verify_model(
        dataset, "honey", picky, skip_failures=skip_failures, ledger_path=ledger
    )
    verdict = found.verdict
    assert verdict.num_failed == 1
    assert verdict.num_pairs == NUM_PAIRS - 1
    rows = [row for row in found.pairs if not row["failed"]]
    differences = [row["withheld_loss"] - row["released_loss"] for row in rows]
    assert min(differences) > 0
    # Thirteen of fourteen pairs, the lost one with the largest rank
    assert verdict.p_value == signed_rank_test(differences, 1).p_value > 2.0**-13


def test_alpha_can_only_shrink(fresh, guessing_suspect):
    dataset, _, ledger = fresh
    with pytest.raises(fhi.ParameterError, match="committed"):
        fhi.verify_model(dataset, "honey", guessing_suspect, alpha=0.01, ledger_path=ledger)
    verdict = fhi.verify_model(
        dataset, "honey", guessing_suspect, alpha=5e-4, ledger_path=ledger
    ).verdict
    assert verdict.alpha == 5e-4


def test_ledger_that_is_missing_altered_or_foreign_is_refused(fresh, tmp_path, guessing_suspect):
    dataset, _, ledger = fresh
    with pytest.raises(fhi.LedgerError, match="is not at"):
        fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=tmp_path / "gone.json")
    content = json.loads(ledger.read_text(encoding="utf-8"))
    released = content["pairs"][0]["released"]
    released[""] = "b" if released[""] == "a" else "a"
    altered = tmp_path / "altered.json"
    altered.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(fhi.LedgerError, match="altered"):
        fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=altered)


def test_altered_honeyimage_is_refused(fresh, guessing_suspect):
    dataset, marking, ledger = fresh
    (image,) = marking.load_ledger().pairs[0].a.files
    path = marking.output_dir / image.file
    original = path.read_bytes()
    try:
        path.write_bytes(original[:-4] + b"\0\0\0\0")
        with pytest.raises(
            fhi.LedgerError, match=f"{image.sample_id}: .*{path}' was altered.*; restore"
        ):
            fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger)
        path.unlink()
        with pytest.raises(
            fhi.LedgerError, match=f"{image.sample_id}: .*{path}' is missing; restore"
        ):
            fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger)
    finally:
        path.write_bytes(original)


def test_evidence_convinces_a_third_party_and_tampering_shows(fresh, tmp_path, remembering_suspect):
    dataset, marking, ledger = fresh
    verification = fhi.verify_model(
        dataset, "honey", remembering_suspect(marking), "proof", ledger_path=ledger
    )
    path = fhi.export_evidence(dataset, "proof", tmp_path / "evidence.json")
    check = check_evidence(path)
    assert check.ok, check.failed
    assert check.verdict == verification.verdict

    content = json.loads(path.read_text(encoding="utf-8"))
    content["answers"]["a"][0] = 99.0
    path.write_text(json.dumps(content), encoding="utf-8")
    assert not check_evidence(path).ok


def test_database_does_not_tell_which_twin_was_released(fresh, guessing_suspect):
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


def test_sequential_test_stops_early_and_keeps_pairs(
    make_digits_dataset, train_and_mark, remembering_suspect, guessing_suspect
):
    dataset = make_digits_dataset(num=140, classes=3, size=8)
    marking = train_and_mark(dataset, num_pairs=24, num_steps=1, alpha=0.01, test="e_process")
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
    rest = fhi.verify_model(
        dataset, "honey", lambda batch: guessing_suspect(batch)[:, :3], pairs="unused"
    ).verdict
    assert rest.num_pairs <= 24 - verdict.num_pairs


def test_a_verification_remembers_what_it_rests_on(fo, fresh, guessing_suspect):
    dataset, marking, ledger = fresh

    found = fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger, user="Ada")

    config = fhi.load_verification(dataset, found.verify_key).config
    assert config["user"] == "Ada"
    assert config["commitment"] == marking.commitment
    assert (
        config["ledger_head"] == json.loads(ledger.read_text(encoding="utf-8"))["log"][-1]["hash"]
    )
    assert config["seed"] == marking.config["seed"]
    assert config["versions"]["fiftyone"] == fo.__version__
    assert config["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    by_os = fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger)
    assert by_os.config["user"]
