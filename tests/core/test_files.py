"""Files are written whole or not at all, also when the disk is full or the process is killed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fiftyone_honeyimage.core import files

ROOT = Path(__file__).resolve().parents[2]
OLD = b"old" * 1000
NEW = b"new!" * 500_000

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and permissions")


def run_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, OLD)
    files.write_atomic(path, NEW)
    assert path.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["file"]


def test_a_name_of_greatest_length(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.write_atomic(path, b"x")
    assert path.read_bytes() == b"x"


@posix
@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_permissions_do_not_depend_on_the_umask(tmp_path: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.write_atomic(tmp_path / "file", OLD, mode)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


@posix
def test_a_secret_is_private_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    chmod = os.chmod

    def look(path: str, mode: int) -> None:
        seen.append(os.stat(path).st_mode & 0o777)
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", look)
    files.write_atomic(tmp_path / "file", OLD, 0o644)
    assert seen == [0o600]


@pytest.mark.parametrize("function", ["fsync", "chmod", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, OLD)

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="free some space") as caught:
        files.write_atomic(path, NEW)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


@posix
def test_a_limit_in_the_middle_of_the_content(tmp_path: Path) -> None:
    """The system itself ends the write half-way, with an error."""
    path = tmp_path / "file"
    files.write_atomic(path, OLD)
    done = run_child(
        "import resource, sys\n"
        "from fiftyone_honeyimage.core.files import write_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "write_atomic(sys.argv[1], b'new!' * 500_000)\n",
        str(path),
    )
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


@posix
def test_killed_in_the_middle_of_the_content(tmp_path: Path) -> None:
    """The system kills the process when half of the new content is on the disk."""
    path = tmp_path / "file"
    files.write_atomic(path, OLD)
    done = run_child(
        "import resource, signal, sys\n"
        "from fiftyone_honeyimage.core.files import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "write_atomic(sys.argv[1], b'new!' * 500_000)\n",
        str(path),
    )
    assert done.returncode == -signal.SIGXFSZ
    assert path.read_bytes() == OLD
    (rest,) = set(os.listdir(tmp_path)) - {"file"}
    assert (tmp_path / rest).stat().st_size == 1_000_000
    files.write_atomic(path, NEW)
    assert path.read_bytes() == NEW


@posix
@pytest.mark.parametrize(
    ("function", "after", "content"),
    [
        ("chmod", False, OLD),
        ("fsync", False, OLD),
        ("fsync", True, OLD),
        ("replace", False, OLD),
        ("replace", True, NEW),
    ],
)
def test_killed_at_every_step(tmp_path: Path, function: str, after: bool, content: bytes) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, OLD)
    done = run_child(
        "import os, signal, sys\n"
        "from fiftyone_honeyimage.core.files import write_atomic\n"
        "name, after = sys.argv[2], sys.argv[3] == 'True'\n"
        "real = getattr(os, name)\n"
        "def die(*arguments):\n"
        "    if after:\n"
        "        real(*arguments)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "setattr(os, name, die)\n"
        "write_atomic(sys.argv[1], b'new!' * 500_000)\n",
        str(path),
        function,
        str(after),
    )
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == content


def test_an_interruption_passes_through_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(tmp_path / "file", NEW)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="create the folder first"):
        files.write_atomic(tmp_path / "no" / "file", OLD)


def test_json(tmp_path: Path) -> None:
    value = {"name": "Käfer", "loss": 0.1, "none": None, "list": [1, 2]}
    files.write_json_atomic(tmp_path / "file", value)
    assert json.loads((tmp_path / "file").read_text(encoding="utf-8")) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_is_no_json_is_refused_before_writing(tmp_path: Path, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        files.write_json_atomic(tmp_path / "file", {"value": value})
    assert os.listdir(tmp_path) == []


def test_digests(tmp_path: Path) -> None:
    data = b"x" * 3_000_000
    (tmp_path / "file").write_bytes(data)
    assert files.sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()
    assert files.sha256_bytes(b"") == hashlib.sha256().hexdigest()


def test_free_space(tmp_path: Path) -> None:
    files.ensure_free_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(OSError, match="free some space") as caught:
        files.ensure_free_space(tmp_path / "not" / "yet", 10**18)
    assert caught.value.errno == errno.ENOSPC


def test_the_lock_lets_no_change_be_lost(tmp_path: Path) -> None:
    path = tmp_path / "counter"
    files.write_atomic(path, b"0")

    def count() -> None:
        for _ in range(25):
            with files.locked(path):
                files.write_atomic(path, str(int(path.read_bytes()) + 1).encode())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == b"100"


def test_many_files_wait_for_the_disk_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(number) or real(number))
    paths = [tmp_path / str(number) for number in range(40)]
    for path in paths:
        files.write_atomic(path, path.name.encode(), 0o600, durable=False)
    assert not synced
    files.sync_files(paths)
    assert len(synced) >= 40
    assert [path.read_text(encoding="utf-8") for path in paths] == [path.name for path in paths]
    with pytest.raises(FileNotFoundError):
        files.sync_files([tmp_path / "none"])
