"""A MongoDB of one's own for FiftyOne, apart from every other FiftyOne on the machine.

``FIFTYONE_DATABASE_DIR`` alone is not enough: where any FiftyOne of the same user already runs, a new one joins that
one's database, whatever folder it was given (``MultiClientService.start`` in ``fiftyone/core/service.py``).
``FIFTYONE_DATABASE_URI`` is always obeyed.

Run as a program, it checks that FiftyOne works with the ``mongod`` that it would start itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 120
STOP_SECONDS = 30


class DatabaseError(RuntimeError):
    """MongoDB is missing or does not start."""


@contextmanager
def private_database(folder: Path) -> Iterator[str]:
    """Runs FiftyOne's ``mongod`` on a free port of this machine alone until the context ends.

    Args:
        folder: where the data and the log lie; created if missing

    Yields:
        the database's URI

    Raises:
        DatabaseError: if there is no ``mongod``, or it does not start
    """
    mongod = Path(sysconfig.get_path("purelib")) / "fiftyone" / "db" / "bin" / "mongod"
    if not mongod.exists():
        raise DatabaseError(f"There is no {mongod}. Run `make setup`.")

    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "mongo.log"
    port = _free_port()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                mongod,
                *("--dbpath", folder),
                *("--port", str(port)),
                *("--bind_ip", "127.0.0.1"),
                "--nounixsocket",
                *("--wiredTigerCacheSizeGB", "0.25"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent,
        )
    try:
        _wait_for_port(process, port, log)
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end_with_parent() -> None:
    """Has the kernel end this process with its parent, even if that one is killed and cleans up nothing."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    said = log.read_text(errors="replace", encoding="utf-8")[-2000:]
    raise DatabaseError(f"mongod does not start. It said:\n{said}")


#: Run by a FiftyOne of its own, which has left the database before it goes away
CHECK = """
import fiftyone as fo

fo.list_datasets()
server = fo.core.odm.database.get_db_conn().client.server_info()
print(f"FiftyOne {fo.__version__} works with MongoDB {server['version']}")
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with private_database(Path(folder) / "db") as uri:
                environment = {
                    **os.environ,
                    "FIFTYONE_DATABASE_URI": uri,
                    "FIFTYONE_DO_NOT_TRACK": "true",
                }
                return subprocess.run([sys.executable, "-c", CHECK], env=environment).returncode
        except DatabaseError as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
