"""Every Python snippet of the README runs, in order, on real images and a really trained suspect."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import torch
from denoiser import SCHEDULE, train_denoiser

ROOT = Path(__file__).resolve().parent.parent


def test_python_snippets_run_in_order(fo, digits, digits_module, tmp_path, monkeypatch):
    from PIL import Image

    from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence

    pixels, labels = digits
    for row in range(240):
        path = tmp_path / "images" / str(labels[row]) / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[row]).convert("RGB").save(path)
    torch.jit.save(
        torch.jit.trace(digits_module, torch.zeros(2, 3, 8, 8)), str(tmp_path / "suspect.pt")
    )
    monkeypatch.setattr(fo.config, "default_dataset_dir", str(tmp_path / "fiftyone"))

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(snippets) >= 6
    scheduler = SimpleNamespace(alphas_cumprod=SCHEDULE)
    unet = train_denoiser(pixels[900:960, :, :, None].repeat(3, axis=3), seed=0, steps=200)
    names: dict = {"unet": unet, "scheduler": scheduler}
    try:
        for snippet in snippets:
            # Shorter training: the text is what is tested here, not the model.
            code = snippet.replace("/path/to", str(tmp_path)).replace('"epochs": 30', '"epochs": 2')
            exec(compile(code, "README.md", "exec"), names)
        assert check_evidence(tmp_path / "evidence.json").ok
        assert (tmp_path / "release").is_dir()
    finally:
        if "dataset" in names:
            names["dataset"].delete()
