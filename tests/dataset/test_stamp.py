"""A marking of a dataset, dated by an authority, from the SDK and the command line to the evidence."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from authority import Authority, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is the authority")


def test_a_marking_is_dated_and_the_evidence_says_so(
    make_marked: Callable[..., Any],
    verify: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    main = importlib.import_module("fiftyone_honeyimage.__main__").main
    authority = Authority(tmp_path / "tsa", "Honest stamps")
    dataset = make_marked(num_pairs=14)
    with serving(authority.answer) as address:
        first = fhi.stamp(dataset, "honey", "commitment", [address], roots=[authority.root])
        assert [one.what for one in first.stamped] == ["the commitment"]
        fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
        verify(dataset, "thief", released=0.9, withheld=0.2)
        given = ["--authorities", address, "--roots", str(authority.root)]
        assert main(["stamp", dataset.name, "honey", *given]) == 0
        said = capsys.readouterr().out
        assert "Dated: the release that entry 0 logs" in said
        assert "1 stamps were there already" in said
    path = fhi.export_evidence(dataset, "thief", tmp_path / "evidence.json")
    assert main(["check", str(path), "--roots", str(authority.root)]) == 0
    said = capsys.readouterr().out
    assert said.count("was there at") == 3
    assert "NO STAMP" not in said
    written = fhi.export_bundle(
        dataset, "thief", tmp_path / "b.zip", images="files", roots=[authority.root], pdf=False
    )
    assert sum(name.startswith("images/") for name in written.names) == 28
    assert sum(name.startswith("stamps/") for name in written.names) == 6
    assert written.check.compared == ("roots",)
    with pytest.raises(fhi.ParameterError, match="images must be"):
        fhi.export_bundle(dataset, "thief", tmp_path / "c.zip", images="all")
    with pytest.raises(fhi.ParameterError, match="no time-stamp authority"):
        fhi.stamp(dataset, "honey", authorities=["mine"])
