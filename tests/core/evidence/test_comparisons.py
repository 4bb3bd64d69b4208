"""``check`` against what was published: commitment, head, release and images; and what it prints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from protocols import PROTOCOL

from fiftyone_honeyimage.__main__ import main
from fiftyone_honeyimage.core.errors import LedgerError, ReleaseError
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.comparisons import compare_release
from fiftyone_honeyimage.core.ledger.creation import create_ledger
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence, export_evidence
from fiftyone_honeyimage.core.ledger.hashes import hash_answers
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.ledger.log import LoggedRelease
from fiftyone_honeyimage.core.ledger.release_digest import read_release
from fiftyone_honeyimage.core.ledger.sides import MarkedImage, Side
from fiftyone_honeyimage.core.scores import SideReferences

Ask = Callable[..., PairAnswers]
NUM_PAIRS = 14


def digest_of(folder: Path) -> tuple[str, int]:
    read = read_release(folder)
    return read.digest(), len(read.files)


@dataclasses.dataclass
class Case:
    """A ledger, its release, the marking's folder and evidence of one verification."""

    ledger: Ledger
    release: Path
    marking: Path
    evidence: Path

    def check(self, **given: Any) -> Any:
        return check_evidence(self.evidence, **given)


def source(number: int) -> bytes:
    return f"original {number}".encode()


def marked(number: int) -> bytes:
    # Those of the last pairs were not changed at all
    return source(number) if number >= 2 * NUM_PAIRS - 4 else f"marked {number}".encode()


@pytest.fixture
def case(tmp_path: Path, ask: Ask) -> Case:
    """Some twins have changed pixels and some have not; the release lies in class folders."""
    marking, release = tmp_path / "marking", tmp_path / "release"

    def image(number: int) -> MarkedImage:
        label = "cat" if number // 2 % 2 else "dog"
        path = marking / "images" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(marked(number))
        digests = [hashlib.sha256(data).hexdigest() for data in (source(number), marked(number))]
        return MarkedImage(f"sample-{number}", label, f"images/{number:04d}.png", *digests)

    images = [image(number) for number in range(2 * NUM_PAIRS)]
    ledger = create_ledger(
        tmp_path / "ledger.json",
        {"dataset_name": "animals", "dataset_id": "51", "classes": ["cat", "dog"]},
        [],
        list(zip(images[0::2], images[1::2], strict=True)),
        Plan(),
    )
    for name in ("cat", "dog"):
        (release / name).mkdir(parents=True)
        (release / name / "other.png").write_bytes(f"an unmarked {name}".encode())
    for pair in ledger.pairs:
        twin = pair.released_side().files[0]
        number = int(Path(twin.file).stem)
        (release / twin.label / f"{number:04d}.png").write_bytes(marked(number))
    ledger.record_release(*digest_of(release))
    evidence = tmp_path / "evidence.json"
    verify(ledger, ask, evidence)
    return Case(ledger, release, marking, evidence)


def verify(ledger: Ledger, ask: Ask, path: Path, **options: Any) -> str:
    given = {"suspect_name": "suspect", "suspect_digest": "cd" * 32, "protocol": PROTOCOL}
    verification_id = ledger.open_verification(
        **{**given, **options}, kind="scores", pairs=ledger.pairs_left
    )
    answers = ask(ledger, list(ledger.verifications[verification_id].pairs))
    ledger.conclude(verification_id, answers)
    export_evidence(ledger, verification_id, answers, path)
    return verification_id


def test_everything_fits(case: Case) -> None:
    check = case.check(
        commitment=case.ledger.commitment,
        head=case.ledger.head,
        release=case.release,
        images=case.marking,
    )
    assert check.failed == ()
    assert check.ok
    assert check.compared == ("commitment", "head", "release", "images")
    text = "\n".join(check.held)
    for line in (
        "the commitment is the published one",
        "the published head is entry 2 of this log, 0 before its end",
        f"the release is the one that was logged: {digest_of(case.release)[0]}",
        "all 14 released images that were opened are in the release",
        "none of the 14 withheld images, nor an original, is in the release",
        "all 28 opened images have a file",
    ):
        assert line in text
    left = "\n".join(check.not_checked)
    for word in ("--commitment", "--head", "--release", "--images"):
        assert word not in left
        assert word in "\n".join(case.check().not_checked)
    assert "coins were fair" in left
    given: list[dict[str, Any]] = [
        {},
        {"head": case.ledger.head},
        {"commitment": case.ledger.commitment, "release": case.release},
    ]
    # No option takes away what nothing can show
    for text in (left, *("\n".join(case.check(**options).not_checked) for options in given)):
        for line in (
            "were not asked before outside the log",
            "no other log branches off",
            "the only commitment that was dated",
            "to be had from the release alone",
        ):
            assert line in text
    assert not any("before the first query" in line for line in check.held)


def test_a_head_from_before_the_opening_binds_nothing_tried_since(case: Case) -> None:
    """Entry 0 is the release, 1 the opening, 2 the end."""
    release, opening, end = (entry["hash"] for entry in case.ledger.log)
    for head, before in (
        (case.ledger.commitment, True),
        (release, True),
        (opening, False),
        (end, False),
    ):
        check = case.check(head=head)
        assert check.ok
        (line,) = (line for line in check.held if "published head" in line)
        assert ("it binds nothing that was tried since" in line) == before
        assert ("not before the opening entry" in line) == (not before)


@pytest.mark.parametrize("changed", ["added", "removed", "changed", "renamed", "hidden"])
def test_another_release_than_the_logged_one(case: Case, changed: str) -> None:
    file = case.release / "cat" / "other.png"
    actions: dict[str, Callable[[], object]] = {
        "added": lambda: (case.release / "more.png").write_bytes(b"more"),
        "removed": file.unlink,
        "changed": lambda: file.write_bytes(b"other"),
        "renamed": lambda: file.rename(file.with_name("renamed.png")),
        "hidden": lambda: (case.release / ".more").write_bytes(b"more"),
    }
    actions[changed]()
    check = case.check(release=case.release)
    assert not check.ok
    assert check.verdict is None
    assert len(check.failed) == 1
    assert "which the log does not hold" in check.failed[0]
    assert any("all 14 released images" in line for line in check.held)


def test_a_released_side_that_is_not_in_the_release(case: Case) -> None:
    twin = case.ledger.pairs[0].released_side().files[0]
    (case.release / twin.label / Path(twin.file).name).write_bytes(b"encoded anew")
    check = case.check(release=case.release)
    assert f"1 released images are not in the release: '{twin.file}'" in check.failed


@pytest.mark.parametrize("original", [False, True])
def test_a_withheld_side_that_is_in_the_release(case: Case, original: bool) -> None:
    """Its file, or the picture that it was made from."""
    twin = case.ledger.pairs[0].withheld_side().files[0]
    number = int(Path(twin.file).stem)
    data = source(number) if original else marked(number)
    (case.release / "cat" / "more.png").write_bytes(data)
    check = case.check(release=case.release)
    assert any(
        f"1 withheld images, or their originals, are in the release: '{twin.file}'" in line
        for line in check.failed
    )


def test_a_release_that_was_logged_after_the_verification(
    case: Case, ask: Ask, tmp_path: Path
) -> None:
    """A model that was asked before the release was out has not learned from it."""
    (case.release / "more.png").write_bytes(b"more")
    order = [index for index, _ in case.ledger.query_order]
    again = case.ledger.open_verification(
        "suspect", None, "scores", order, protocol=PROTOCOL, reuse=True
    )
    case.ledger.record_release(*digest_of(case.release))
    answers = ask(case.ledger, order)
    case.ledger.conclude(again, answers)
    export_evidence(case.ledger, again, answers, tmp_path / "late.json")
    check = check_evidence(tmp_path / "late.json", release=case.release)
    assert "the release was logged after the verification was opened" in check.failed
    releases = [value for name, value in check.facts if name == "release"]
    assert [("before" in value, "AFTER" in value) for value in releases] == [
        (True, False),
        (False, True),
    ]


def test_images_that_are_missing_or_others(case: Case) -> None:
    file = case.marking / case.ledger.pairs[3].a.files[0].file
    file.write_bytes(b"another image")
    check = case.check(images=case.marking)
    assert not check.ok
    assert f"1 of 28 opened images have no file in '{case.marking}'" in check.failed[0]
    assert case.ledger.pairs[3].a.files[0].file in check.failed[0]
    with pytest.raises(ReleaseError, match="There is no folder"):
        case.check(images=case.marking / "nowhere")


def test_comparisons_are_not_made_with_a_file_that_does_not_hold(case: Case) -> None:
    content = json.loads(case.evidence.read_text(encoding="utf-8"))
    content["answers"]["a"][0] = 0.0
    case.evidence.write_text(json.dumps(content), encoding="utf-8")
    check = case.check(release=case.release, images=case.marking, head="0" * 64)
    assert len(check.failed) == 1
    assert check.facts == ()


def test_the_digest_of_a_release_rests_on_names_and_contents_alone(tmp_path: Path) -> None:
    def release(name: str, files: dict[str, bytes]) -> tuple[str, int]:
        for path, data in files.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return digest_of(tmp_path / name)

    one = release("one", {"a/x.png": b"1", "b.png": b"2", "ä/ö.png": b"3"})
    assert one[1] == 3
    assert release("two", {"ä/ö.png": b"3", "b.png": b"2", "a/x.png": b"1"}) == one
    others = [
        release("three", {"a/x.png": b"2", "b.png": b"1", "ä/ö.png": b"3"}),
        release("four", {"a/y.png": b"1", "b.png": b"2", "ä/ö.png": b"3"}),
        release("five", {"x.png": b"1", "b.png": b"2", "ä/ö.png": b"3"}),
        release("six", {"a/x.png": b"1", "b.png": b"2"}),
    ]
    assert len({one, *others}) == 5
    (tmp_path / "one" / "link").symlink_to(tmp_path / "two", target_is_directory=True)
    with pytest.raises(ReleaseError, match=r"'link' .* is no file"):
        digest_of(tmp_path / "one")
    (tmp_path / "two" / "caf\udce9.png").write_bytes(b"")
    with pytest.raises(LedgerError, match="no UTF-8"):
        digest_of(tmp_path / "two")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    status = main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert err == ""
    return status, out.splitlines()


def test_the_first_line_says_when_nothing_was_compared(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = run(capsys, case.evidence)
    assert status == 0
    assert lines[0].startswith("NOTHING WAS COMPARED with anything that was published")
    assert lines[-1].startswith("derived: The model was derived")
    status, lines = run(
        capsys,
        case.evidence,
        *("--commitment", case.ledger.commitment, "--head", case.ledger.head),
        *("--release", case.release, "--images", case.marking),
    )
    assert status == 0
    assert lines[0] == "compared with what was given: commitment, head, release, images"
    text = "\n".join(lines)
    for value in (
        case.ledger.commitment,
        case.ledger.head,
        "suspect",
        "cd" * 32,
        '"animals", id "51"',
        digest_of(case.release)[0],
        "number 1 of this dataset",
        '{"cat": 0, "dog": 1}',
        "1 verifications opened",
        "1 concluded, 0 abandoned, 0 still open; this is number 1",
        f"{'asked: batch_size':<27} 8",
        f"{'committed: level and test':<27} ",  # with a space between name and value
    ):
        assert value in text
    assert not any(line.startswith("FAILS") for line in lines)


@pytest.mark.parametrize("option", ["--commitment", "--head"])
def test_a_comparison_that_fails_gives_no_verdict(
    case: Case, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    status, lines = run(capsys, case.evidence, option, "0" * 64)
    assert status == 1
    assert any(line.startswith("FAILS") for line in lines)
    assert not any(line.startswith("derived") for line in lines)


def test_attempts_of_every_kind_are_counted(
    case: Case, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = [index for index, _ in case.ledger.query_order]

    def open_one() -> str:
        return case.ledger.open_verification(
            "x", None, "scores", order, protocol=PROTOCOL, reuse=True
        )

    case.ledger.close_verification(open_one(), None)
    open_one()
    open_one()
    last = open_one()
    answers = ask(case.ledger, order)
    case.ledger.conclude(last, answers)
    export_evidence(case.ledger, last, answers, tmp_path / "last.json")
    _, lines = run(capsys, tmp_path / "last.json")
    (line,) = (line for line in lines if line.startswith("attempts"))
    assert "5 verifications opened" in line
    assert "2 concluded, 1 abandoned, 2 still open; this is number 5" in line


def test_text_from_a_file_cannot_act_on_the_terminal(
    case: Case, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names that clear the screen, start a line of their own or turn the writing round."""
    name = "x\x1b[2J\rholds\nFAILS\u2028y\u202ez\x9b\u200b\u2066"
    order = [index for index, _ in case.ledger.query_order]
    again = case.ledger.open_verification(
        name,
        None,
        "scores",
        order,
        protocol={**PROTOCOL, "way": name},
        reuse=True,
    )
    answers = ask(case.ledger, order)
    case.ledger.conclude(again, answers)
    export_evidence(case.ledger, again, answers, tmp_path / "evil.json")
    for arguments in ((tmp_path / "evil.json",), (tmp_path / "evil.json", "--head", name)):
        main(["check", *map(str, arguments)])
        out = capsys.readouterr().out
        assert "\\x1b[2J\\rholds\\nFAILS\\u2028y\\u202ez\\x9b\\u200b\\u2066" in out
        assert all(character == "\n" or character.isprintable() for character in out)
        assert "\nFAILS\u2028" not in out
    broken = json.loads((tmp_path / "evil.json").read_text(encoding="utf-8"))
    broken["format"] = name
    (tmp_path / "evil.json").write_text(json.dumps(broken), encoding="utf-8")
    assert main(["check", str(tmp_path / "evil.json")]) == 2
    assert main(["check", f"/nowhere/{name}"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 2
    assert all(character == "\n" or character.isprintable() for character in err)


def test_the_evidence_of_one_suspect_says_nothing_about_another(
    case: Case, ask: Ask, tmp_path: Path
) -> None:
    """Of others it has times, counts, levels and pairs: no name, no result, nothing to try out."""
    order = [index for index, _ in case.ledger.query_order]
    protocol = {**PROTOCOL, "batch_size": 77, "device": "rival's endpoint"}
    ids, told = [], []
    for name in ("rival", "suspect Y"):
        item = case.ledger.open_verification(
            name, "77" * 32, "scores", order, protocol=protocol, reuse=True
        )
        ids.append(item)
        answers = ask(case.ledger, order)
        case.ledger.conclude(item, answers, paper={"mean_gap": 1.25})
        told.append(answers)
    path = tmp_path / "y.json"
    export_evidence(case.ledger, ids[1], told[1], path)
    content = json.loads(path.read_text(encoding="utf-8"))
    for entry in content["log"]:
        assert ("private" in entry) == (entry["id"] == ids[1])
        expected = {
            "release": {"digest", "num_files"},
            "open": {"pairs", "alpha", "reuse"},
            "close": {"concluded", "num_queried"},
        }
        assert set(entry["public"]) == expected[entry["event"]]
    # Without its own parts nothing is left that could be compared with another's answers
    others = json.dumps([entry for entry in content["log"] if entry["id"] != ids[1]])
    for word in ("rival", "77" * 32, "endpoint", "derived", "p_value", "answers", "score", "1.25"):
        assert word not in others
    for entry in case.ledger.log:
        if entry["id"] == ids[0]:
            assert entry["private"]["salt"] not in path.read_text(encoding="utf-8")
    assert hash_answers(told[0]) not in others

    # Two files of one ledger: what one says of the other's is the same as its public part
    first = json.loads(case.evidence.read_text(encoding="utf-8"))
    for one, other in zip(first["log"], content["log"], strict=False):
        assert {k: v for k, v in one.items() if k != "private"} == {
            k: v for k, v in other.items() if k != "private"
        }


def test_pairs_that_were_not_asked_stay_secret(
    tmp_path: Path, make_ledger: Callable[..., Ledger], ask: Ask
) -> None:
    """Whatever coins the closed pairs have, nothing in the file can be recomputed from them."""
    ledger = make_ledger(num_pairs=20)
    asked = ledger.pairs_left[:12]
    verification_id = ledger.open_verification("x", None, "scores", asked, protocol=PROTOCOL)
    answers = ask(ledger, asked)
    ledger.conclude(verification_id, answers)
    export_evidence(ledger, verification_id, answers, tmp_path / "evidence.json")
    text = (tmp_path / "evidence.json").read_text(encoding="utf-8")
    first_pair = 1 + len(ledger.singles)
    for pair in ledger.pairs:
        is_open = pair.index in asked
        assert (ledger.salts[first_pair + pair.index] in text) == is_open
        assert (pair.a.files[0].marked_sha256 in text) == is_open
    for salt in ledger.salts[1:first_pair]:
        assert salt not in text


def test_evidence_replaces_nothing_without_saying(case: Case, ask: Ask, tmp_path: Path) -> None:
    verification_id = next(iter(case.ledger.verifications))
    order = [index for index, _ in case.ledger.query_order]
    answers = ask(case.ledger, order)
    before = case.evidence.read_bytes()

    def export(path: Path, **options: Any) -> None:
        export_evidence(case.ledger, verification_id, answers, path, **options)

    with pytest.raises(LedgerError, match="exists already"):
        export(case.evidence)
    assert case.evidence.read_bytes() == before
    case.evidence.write_text('{"format": "honeyimage-evidence/1"}', encoding="utf-8")
    export(case.evidence, overwrite=True)
    assert case.evidence.read_bytes() == before

    backup = tmp_path / "backup.json"
    backup.write_bytes(case.ledger.path.read_bytes())
    torn = tmp_path / "torn.json"
    torn.write_bytes(case.ledger.path.read_bytes()[:-100])
    link = tmp_path / "link.json"
    link.symlink_to(case.ledger.path)
    note = tmp_path / "note.txt"
    note.write_text("mine", encoding="utf-8")
    for path in (case.ledger.path, backup, torn, link, note):
        kept = path.read_bytes()
        for options in ({}, {"overwrite": True}):
            with pytest.raises(LedgerError, match=r"exists already|never overwritten"):
                export(path, **options)
        assert path.read_bytes() == kept
    assert link.is_symlink()
    load_ledger(case.ledger.path)
    with pytest.raises(LedgerError, match="is a folder"):
        export(tmp_path, overwrite=True)
    with pytest.raises(LedgerError, match="create it first"):
        export(tmp_path / "nowhere" / "evidence.json")


def test_words_may_change_between_versions(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Old evidence holds when a sentence is put better; the checker's own words are what is shown."""
    from fiftyone_honeyimage.core.evidence.exact_tests import TESTS

    assert "derived from the release" not in case.evidence.read_text(encoding="utf-8")
    assert "signed-rank" not in case.evidence.read_text(encoding="utf-8")
    monkeypatch.setattr(type(TESTS["signed_rank"]), "title", "test of Wilcoxon")
    check = case.check()
    assert check.failed == ()
    assert check.verdict is not None
    assert "test of Wilcoxon on 14 pairs" in check.verdict.statement


def test_a_release_with_another_number_of_files_than_logged(case: Case) -> None:
    digest, number = digest_of(case.release)
    logged = LoggedRelease(digest, number + 1, "2026-01-01T00:00:00+00:00", 0)
    pairs = {pair.index: pair for pair in case.ledger.pairs}
    found = compare_release(case.release, pairs, [(logged, True)], case.ledger.version)
    assert f"has {number} files, the log says {number + 1}" in found.failed[0]
    assert not any("the one that was logged" in line for line in found.held)


def test_what_a_suspect_was_asked_about_may_lie_in_no_release(case: Case) -> None:
    def probe(number: int) -> MarkedImage:
        digests = [hashlib.sha256(f"{what} {number}".encode()).hexdigest() for what in ("p", "m")]
        return MarkedImage(f"p{number}", "cat", f"probes/{number}.png", *digests)

    pairs = {
        pair.index: dataclasses.replace(
            pair,
            a=dataclasses.replace(pair.a, probes=(probe(2 * pair.index),)),
            b=dataclasses.replace(pair.b, probes=(probe(2 * pair.index + 1),)),
        )
        for pair in case.ledger.pairs
    }
    logged = [(LoggedRelease(*digest_of(case.release), "2026-01-01T00:00:00+00:00", 0), True)]
    found = compare_release(case.release, pairs, logged, case.ledger.version)
    assert found.failed == ()
    assert (
        f"none of the {2 * NUM_PAIRS} images that were asked about is in the release" in found.held
    )
    # One with its secret, one as it was before
    for number, what in ((3, "m"), (8, "p")):
        (case.release / "cat" / f"more{number}.png").write_bytes(f"{what} {number}".encode())
    found = compare_release(case.release, pairs, logged, case.ledger.version)
    assert any("2 images that the suspect was asked about" in line for line in found.failed)


def test_a_fit_that_cannot_be_computed_again_is_said(tmp_path: Path, ask: Ask) -> None:
    """What a score learned takes all pairs: evidence on some of them leaves it open."""
    rng = np.random.default_rng(0)

    def side(number: int) -> Side:
        digests = [hashlib.sha256(f"{what}{number}".encode()).hexdigest() for what in "sm"]
        image = MarkedImage(f"s{number}", "cat", f"images/{number}.png", *digests)
        losses = tuple(rng.uniform(0.1, 3, 8).tolist())
        return Side((image,), references=SideReferences(losses, (True, False) * 4))

    ledger = create_ledger(
        tmp_path / "ledger.json",
        {"dataset_name": "animals", "dataset_id": "51", "classes": ["cat", "dog"]},
        [],
        [(side(2 * pair), side(2 * pair + 1)) for pair in range(24)],
        Plan(score="lira_online"),
    )
    for num_pairs, is_open in ((12, True), (12, False)):
        asked = ledger.pairs_left[:num_pairs]
        if not is_open:
            asked = [index for index, _ in ledger.query_order]
        own = ledger.open_verification(
            "suspect", "cd" * 32, "scores", asked, protocol=PROTOCOL, reuse=not is_open
        )
        answers = ask(ledger, asked)
        ledger.conclude(own, answers)
        export_evidence(ledger, own, answers, tmp_path / f"{own}.json")
        check = check_evidence(tmp_path / f"{own}.json")
        assert check.ok
        assert any("what the score learned" in line for line in check.not_checked) is is_open


def test_pairs_that_earlier_verifications_opened_are_counted(
    case: Case, ask: Ask, tmp_path: Path
) -> None:
    order = [index for index, _ in case.ledger.query_order]
    again = case.ledger.open_verification(
        "suspect", None, "scores", order, protocol=PROTOCOL, reuse=True
    )
    answers = ask(case.ledger, order)
    case.ledger.conclude(again, answers)
    export_evidence(case.ledger, again, answers, tmp_path / "again.json")
    facts = dict(check_evidence(tmp_path / "again.json").facts)
    assert f"{NUM_PAIRS} of them were opened before" in facts["pairs"]
    assert "0 of them were opened before" in dict(case.check().facts)["pairs"]
