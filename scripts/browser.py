"""Finds a browser for the tests that drive the App, and installs one where it may.

Run as a program, it does both: ``.venv/bin/python scripts/browser.py``. Without a browser it fails where ``CI`` is set;
elsewhere the browser tests are skipped and say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from set_up import apt_install, run, say, succeeds

#: Chromium and Chrome, as distributions name them
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: What it takes on Debian and Ubuntu: the second one is for Playwright's own driver
DEBIAN_PACKAGES = ("chromium", "libatomic1")

#: Containers give a browser neither the rights for its sandbox nor much shared memory
LAUNCH_ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]

#: ``CI=false`` and an empty one mean no CI, as they do to pip and npm
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

WITH_PLAYWRIGHT = "from playwright.sync_api import sync_playwright as p\nwith p() as p:"


def find_browser() -> str | None:
    """Finds a browser that Playwright can drive, the machine's own first.

    Returns:
        its path, or None
    """
    # Some of these are only a note to install a snap package, so open a page in each
    return next((path for path in _candidates() if _opens_a_page(path)), None)


def _candidates() -> Iterator[str]:
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            yield path

    told = "sys.stdout.buffer.write(os.fsencode(p.chromium.executable_path))"
    code = f"import os, sys; {WITH_PLAYWRIGHT} {told}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    path = os.fsdecode(done.stdout)
    if done.returncode == 0 and Path(path).exists():
        yield path


def _opens_a_page(path: str) -> bool:
    launch = f"launch(executable_path={path!r}, args={LAUNCH_ARGUMENTS!r})"
    code = f"{WITH_PLAYWRIGHT} p.chromium.{launch}.new_page().goto('about:blank')"
    return succeeds(sys.executable, "-c", code)


def install_browser() -> None:
    """Tries Debian's packages, then Playwright's own download."""
    if apt_install(*DEBIAN_PACKAGES) and find_browser():
        return
    say("Installing Playwright's browser")
    run(sys.executable, "-m", "playwright", "install", "chromium")


def main() -> int:
    if find_browser() is None:
        install_browser()
    browser = find_browser()
    if browser is not None:
        print(f"Browser tests use {browser}", flush=True)
        return 0
    print(
        "No browser that works could be found or installed. On Debian: apt-get install "
        + " ".join(DEBIAN_PACKAGES),
        file=sys.stderr,
    )
    return 1 if IN_CI else 0


if __name__ == "__main__":
    sys.exit(main())
