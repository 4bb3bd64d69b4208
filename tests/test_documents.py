"""Every document holds: its Python runs, its output is what is printed, its tables are whole, its links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from denoiser import SCHEDULE, train_denoiser
from PIL import Image

from fiftyone_honeyimage.core.evidence.adjustment import ADJUSTMENTS
from fiftyone_honeyimage.core.evidence.exact_tests import TESTS
from fiftyone_honeyimage.core.evidence.statement import word_verdict
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.selection import RULES
from fiftyone_honeyimage.core.scores import deciding_scores

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def _blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def run(
    fo: Any, digits: Any, digits_module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """``run(document, **names)`` runs its Python, in order, on real images and a really trained suspect.

    It returns what was printed, and the names.
    """
    pixels, labels = digits
    for row in range(240):
        path = tmp_path / "images" / str(labels[row]) / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[row]).convert("RGB").save(path)
    torch.jit.save(
        torch.jit.trace(digits_module, torch.zeros(2, 3, 8, 8)), str(tmp_path / "suspect.pt")
    )
    monkeypatch.setattr(fo.config, "default_dataset_dir", str(tmp_path / "fiftyone"))
    names: dict[str, Any] = {}

    def execute(document: str, **given: Any) -> tuple[str, dict[str, Any]]:
        names.update(given)
        printed = io.StringIO()
        for snippet in _blocks(document, "python"):
            # Shorter training: the text is what is tested here, not the model.
            code = snippet.replace("/path/to", str(tmp_path)).replace('"epochs": 30', '"epochs": 2')
            with contextlib.redirect_stdout(printed):
                exec(compile(code, document, "exec"), names)
        assert check_evidence(tmp_path / "evidence.json").ok
        assert (tmp_path / "release").is_dir()
        return printed.getvalue(), names

    yield execute
    if "dataset" in names:
        names["dataset"].delete()


def test_the_readme_shows_what_is_printed(run: Callable[..., Any]) -> None:
    from fiftyone_honeyimage.dataset.hardness import HardnessSummary

    printed, names = run("README.md")
    # What these images are too small for, and so little training too short
    seen = {"linf": 4.0, "ssim": 0.99, "worst_window": 0.98, "psnr": 38.0, "lpips": None}
    marking = replace(names["marking"], metrics={**names["marking"].metrics, **seen}, worst=seen)
    hardness = HardnessSummary(
        "honey_hardness", "honey_hardness_label_error", 1797, 0, 4, 0.97, 0.1, True, True, 0.08
    )
    counts, figures = (20, 0), (0.0004, 0.0008, 0.001)
    derived = word_verdict("derived", "", "signed_rank", counts, *figures, adjusted=True)
    lines = [printed, str(marking), str(hardness), f"suspect: derived. {derived}"]
    said = {_shape(line) for line in "\n".join(lines).splitlines()}

    before, after = _blocks("README.md", "text")
    for line in [*before.splitlines(), " ".join(after.split())]:
        assert _shape(line) in said, f"the README shows other words than are printed: {line}"


def _shape(line: str) -> str:
    """A line without its figures, digests and paths."""
    line = re.sub(r"\b[0-9a-f]{64}\b|/\S+(?=[,;]| |$)", "…", line)
    return re.sub(r"\d[\d.,]*(e-\d+)?%?", "…", line).replace("…,", "…")


def test_the_reference_of_operators_runs(run: Callable[..., Any], digits: Any) -> None:
    images = digits[0][900:960, :, :, None].repeat(3, axis=3)
    unet = train_denoiser(np.ascontiguousarray(images), seed=0, epochs=200)
    assert len(_blocks("docs/operators.md", "python")) >= 6
    run("docs/operators.md", unet=unet, scheduler=SimpleNamespace(alphas_cumprod=SCHEDULE))


def test_every_method_score_adjustment_and_test_has_its_line() -> None:
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    for title, names in (
        ("Methods:", METHODS),
        ("Which images:", RULES),
        ("Scores:", deciding_scores()),
        ("Adjustments:", ADJUSTMENTS),
        ("Tests:", [name for name, test in TESTS.items() if test.planned]),
    ):
        (section,) = (found for found in sections if found.startswith(title))
        assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(names)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        place, _, anchor = target.partition("#")
        path = document.parent / place if place else document
        assert path.exists(), f"{document.name} leads to {target}"
        if anchor:
            assert anchor in _anchors(path), f"{document.name} leads to {target}"


def _anchors(path: Path) -> set[str]:
    """The names that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
