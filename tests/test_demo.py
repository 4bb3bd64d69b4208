"""The demo and the command line, really run, with shorter training."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.__main__ import main


@pytest.fixture
def clean(fo):
    """No demo dataset before or after."""

    def delete() -> None:
        if "honeyimage-demo" in fo.list_datasets():
            fo.delete_dataset("honeyimage-demo")

    delete()
    yield
    delete()


@pytest.mark.slow
def test_demo_on_digits(clean, tmp_path, capsys):
    from fiftyone_honeyimage.demo import run_demo

    dataset, suspects = run_demo(folder=tmp_path / "demo", epochs=2, num_pairs=16)
    assert [suspect.name for suspect in suspects] == [
        "infringing",
        "innocent",
        "innocent, stronger",
    ]
    table = capsys.readouterr().out
    for words in (
        "539 images scored: mean hardness",
        "16 HoneyImages for a release, 16 pairs of twins",
        f"Commitment, to be published before the release: {fhi.load_marking(dataset, 'demo').commitment}",
        "16 of them HoneyImages; 16 images were withheld",
        "no verdict rests on them",
    ):
        assert words in table
    assert "Summary(" not in table, "no figure is printed without words"
    for suspect in suspects:
        assert suspect.file.is_file()
        assert f"{suspect.accuracy:.1%}" in table
        assert suspect.verification.verdict.num_pairs == 16
        # A demo that accuses the innocent would be a lie told to newcomers; 1 run in 1000 may.
        if suspect.name != "infringing":
            assert suspect.verification.verdict.verdict == "not shown"
    released = list((tmp_path / "demo" / "release").rglob("*.png"))
    assert len(released) == len(dataset.match_tags("private")) - 16
    assert sorted(run.kind for run in fhi.list_runs(dataset)) == [
        "hardness",
        "marking",
        *["verification"] * 3,
    ]
    # It may run again over its own folder, and over nobody else's.
    stranger = tmp_path / "mine"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("three years", encoding="utf-8")
    with pytest.raises(fhi.ParameterError, match="holds files that no demo made"):
        run_demo(folder=stranger, epochs=2)
    assert (stranger / "thesis.txt").read_text(encoding="utf-8") == "three years"


@pytest.mark.slow
def test_demo_on_a_folder_of_class_folders(clean, write_digits, tmp_path):
    from fiftyone_honeyimage.demo import run_demo

    for path, label in write_digits(num=240, classes=3, size=16):
        target = tmp_path / "images" / label / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    _, suspects = run_demo(
        str(tmp_path / "images"), folder=tmp_path / "demo", epochs=1, num_pairs=14
    )
    assert len(suspects) == 3
    with pytest.raises(fhi.ParameterError, match="neither a folder"):
        run_demo("no-such-thing", folder=tmp_path / "other", epochs=1)


def test_the_app_of_the_demo_can_schedule_runs(
    make_marked, monkeypatch: pytest.MonkeyPatch, capsys, fo
):
    from fiftyone_honeyimage import demo

    variable = "FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS"
    # Set first: what was not set is then taken away again at the end
    monkeypatch.setenv(variable, "")
    monkeypatch.delenv(variable)
    monkeypatch.setattr(demo, "HONEY_KEY", "honey")
    opened = []

    class Session:
        def wait(self, seconds: int) -> None:
            assert seconds == -1, "until the App is closed"

    def launch_app(**_) -> Session:
        # The App's server is a process of its own, which inherits the environment
        opened.append(os.environ.get(variable))
        return Session()

    monkeypatch.setattr(fo, "launch_app", launch_app)
    dataset = make_marked()
    demo.open_app(dataset)
    monkeypatch.setenv(variable, "false")
    demo.open_app(dataset)
    # What the user has set stays
    assert opened == ["true", "false"]
    worker = Path(sys.executable).with_name("fiftyone")
    assert f"need a worker: {worker} delegated launch" in capsys.readouterr().out


def test_command_line_from_a_dataset_to_checked_evidence(make_digits_dataset, tmp_path, capsys):
    import torch

    dataset = make_digits_dataset(num=120, classes=3, size=8)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    torch.jit.save(torch.jit.trace(module, torch.zeros(2, 3, 8, 8)), str(tmp_path / "suspect.pt"))
    release, marking = str(tmp_path / "release"), str(tmp_path / "marking")
    evidence = str(tmp_path / "evidence.json")

    options = ["--proxy", "resnet_tiny", "--epochs", "1", "--num-pairs", "12"]
    protect = ["protect", dataset.name, "ground_truth", "honey", release, "--output-dir", marking]
    assert main([*protect, *options]) == 0
    assert main(["list", dataset.name]) == 0
    suspect = str(tmp_path / "suspect.pt")
    assert main(["verify", dataset.name, "honey", suspect, "--insist", "--evidence", evidence]) == 0
    # An evidence file is in the way: said before the verification, which is not given back
    ledger = Path(marking, "ledger.json").read_bytes()
    assert main(["verify", dataset.name, "honey", suspect, "--insist", "--evidence", evidence]) == 2
    assert Path(marking, "ledger.json").read_bytes() == ledger
    assert main(["check", evidence]) == 0
    printed = capsys.readouterr().out
    assert "Commitment, to be published before the release: " in printed
    assert '"verdict": "not shown"' in printed
    assert Path(release).is_dir()

    content = json.loads(Path(evidence).read_text(encoding="utf-8"))
    content["answers"]["a"][0] = 99.0
    Path(evidence).write_text(json.dumps(content), encoding="utf-8")
    assert main(["check", evidence]) == 1
    assert main(["list", "no-such-dataset"]) == 2
    assert "there is no dataset 'no-such-dataset'" in capsys.readouterr().err
