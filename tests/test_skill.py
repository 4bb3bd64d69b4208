"""The skill for assistants: FiftyOne finds it, and every call that it shows really runs, in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SKILL = ROOT / "skills" / "honeyimage" / "SKILL.md"
PLUGIN = "@honeyimage/ownership"


def test_fiftyone_finds_it(fo: Any) -> None:
    import fiftyone.plugins as fop

    (skill,) = fop.list_skills(plugin=PLUGIN)
    assert skill.name == "honeyimage"
    assert Path(skill.path).samefile(SKILL)
    assert "trained on" in skill.description
    assert skill.category
    manifest = yaml.safe_load((ROOT / "fiftyone.yml").read_text(encoding="utf-8"))
    assert manifest["skills"] == [folder.name for folder in (ROOT / "skills").iterdir()]


def test_it_forbids_what_does_harm() -> None:
    text = SKILL.read_text(encoding="utf-8")
    never = text[text.index("## Never") : text.index("## Before")]
    for words in ("ledger", "acquittal", "again and again", "delete_files=True", "audit failed"):
        assert words in never
    # It shows nothing that it forbids
    calls = "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE))
    assert "ledger" not in calls
    assert "delete" not in calls


def test_it_names_operators_that_there_are() -> None:
    text = SKILL.read_text(encoding="utf-8")
    known = yaml.safe_load((ROOT / "fiftyone.yml").read_text(encoding="utf-8"))["operators"]
    called = re.findall(r'uri \+ "(\w+)"', text)
    assert set(called) <= set(known)
    steps = ["compute_hardness", "generate_honeyimages", "export_release", "audit_release"]
    assert [name for name in called if name in steps] == steps
    assert called.index("verify_model") > called.index("audit_release")


def test_its_calls_run_in_order(
    fo: Any,
    digits: Any,
    digits_module: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    import torch
    from PIL import Image

    from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence

    pixels, labels = digits
    samples = []
    for row in range(240):
        path = tmp_path / "images" / f"{row:04d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[row]).convert("RGB").save(path)
        truth = fo.Classification(label=str(labels[row]))
        samples.append(fo.Sample(filepath=str(path), ground_truth=truth))
    torch.jit.save(
        torch.jit.trace(digits_module, torch.zeros(2, 3, 8, 8)), str(tmp_path / "suspect.pt")
    )
    monkeypatch.setattr(fo.config, "default_dataset_dir", str(tmp_path / "fiftyone"))
    if fo.dataset_exists("my-dataset"):
        fo.delete_dataset("my-dataset")
    dataset = fo.Dataset("my-dataset", persistent=True)
    names: dict[str, Any] = {}
    try:
        dataset.add_samples(samples)
        text = SKILL.read_text(encoding="utf-8")
        for snippet in re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            # Shorter training: the text is what is tested here, not the model
            code = snippet.replace("/path/to", str(tmp_path)).replace('"epochs": 30', '"epochs": 2')
            exec(compile(code, "SKILL.md", "exec"), names)
        assert names["audit"]["passed"] in (True, False)
        assert names["verdict"]["num_pairs"] == 20
        assert len(names["suspicious"]) == names["hardness"]["num_label_errors"]
        assert check_evidence(tmp_path / "evidence.json").ok
        dataset.reload()
        assert "their_model_v1" in dataset.list_runs()
        ledger = Path(names["marking"]["ledger_path"]).read_text(encoding="utf-8")
        printed = capsys.readouterr().out
        salts = re.findall(r'"([0-9a-f]{64})"', ledger)
        assert salts
        told = {names["marking"]["commitment"]}
        assert not any(salt in printed for salt in salts if salt not in told)
    finally:
        dataset.delete()
