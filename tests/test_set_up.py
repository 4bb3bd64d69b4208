"""The set-up's own steps, as far as they need no network."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
from set_up import pip_install

METADATA = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package of one empty module."""
    path = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", METADATA)
        archive.writestr("tiny-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return path


def test_pip_says_what_it_is_at(wheel: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    options = ["--no-index", "--no-deps", "--target", str(tmp_path / "there")]

    assert pip_install(Path(sys.executable), *options, str(wheel))

    assert (tmp_path / "there" / "tiny.py").exists()
    shown = capfd.readouterr().out
    assert f"Processing {wheel}" in shown
    assert "Successfully installed tiny-1.0" in shown


def test_a_failed_installation_says_why(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert not pip_install(Path(sys.executable), "--no-index", str(tmp_path / "absent.whl"))

    assert "absent.whl" in capfd.readouterr().err
