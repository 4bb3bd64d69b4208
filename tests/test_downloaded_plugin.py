"""The plugin as `fiftyone plugins download` leaves it: a folder, and no package in the Python that runs it."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shlex
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "@honeyimage/ownership"

CODE = """
import importlib.util, json, sys
assert importlib.util.find_spec("fiftyone_honeyimage") is None, "the package is installed"
import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.plugins as fop

address, name, path = sys.argv[1:]
downloaded = fop.download_plugin(address)
fop.ensure_plugin_requirements("@honeyimage/ownership")
exported = foo.execute_operator(
    "@honeyimage/ownership/export_evidence",
    dataset=fo.load_dataset(name),
    params={"verify_key": "thief", "path": path},
).result
print(json.dumps([downloaded, exported]))
"""


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python with the requirements and without the package: entries of its path read no further ones."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", code], check=True, capture_output=True).stdout
    entry = Path(os.fsdecode(packages).strip()) / "requirements.pth"
    entry.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """An archive of this repository on a server, with one folder in it as GitHub's have."""
    tracked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(tracked, cwd=ROOT, capture_output=True)
    if listed.returncode != 0:
        pytest.skip("this is no clone: git does not tell which files belong to the repository")
    folder = tmp_path / "server"
    folder.mkdir()
    with zipfile.ZipFile(folder / "plugin.zip", "w") as archive:
        for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
            if (ROOT / name).is_file():
                archive.write(ROOT / name, f"honeyimage-main/{name}")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/plugin.zip"
        server.shutdown()
        thread.join()


def test_the_command_that_is_printed_works(
    make_marked: Callable[..., Any],
    verify: Callable[..., Any],
    bare_python: Path,
    address: str,
    tmp_path: Path,
) -> None:
    dataset = make_marked()
    verify(dataset, "thief", released=0.9, withheld=0.2)
    plugins = tmp_path / "my plugins"
    plugins.mkdir()
    environment = {**os.environ, "FIFTYONE_PLUGINS_DIR": str(plugins)}
    environment.pop("PYTHONPATH", None)
    run = functools.partial(
        subprocess.run, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8"
    )

    evidence = tmp_path / "the evidence.json"
    done = run([bare_python, "-c", CODE, address, dataset.name, str(evidence)])
    assert done.returncode == 0, done.stderr
    downloaded, exported = json.loads(done.stdout.splitlines()[-1])
    (folder,) = downloaded.values()
    assert plugins in Path(folder).parents

    program, *arguments = shlex.split(exported["check"])
    assert program == "python"
    assert Path(arguments[0]).samefile(folder)
    checked = run([bare_python, *arguments])
    assert checked.returncode == 0, checked.stderr
    assert "derived: " in checked.stdout

    # The module is not there, as the issue was
    assert run([bare_python, "-m", "fiftyone_honeyimage", "check", evidence]).returncode != 0
    # Python may be told to trust no folder, and the check still fails for a forged file
    content = json.loads(evidence.read_bytes())
    (closed,) = (
        entry
        for entry in content["log"]
        if entry["event"] == "close" and entry["id"] == content["verification_id"]
    )
    closed["private"]["result"]["p_value"] = 1e-9
    evidence.write_text(json.dumps(content), encoding="utf-8")
    assert run([bare_python, "-I", *arguments]).returncode == 1
