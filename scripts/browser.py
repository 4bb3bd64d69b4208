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

#: ``CI=false`` and an empty one mean no CI, as they do to pip and npm
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


def find_browser() -> str | None:
    """Finds a browser that starts, the machine's own first.

    Returns:
        its path, or None
    """
    # Some of these are only a note to install a snap package, so ask each for a page
    return next((path for path in _candidates() if _shows_a_page(path)), None)


def _candidates() -> Iterator[str]:
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            yield path

    code = "from playwright.sync_api import sync_playwright as p\nwith p() as p: print(p.chromium.executable_path)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    path = done.stdout.strip()
    if done.returncode == 0 and Path(path).exists():
        yield path


def _shows_a_page(path: str) -> bool:
    return succeeds(
        path, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "about:blank"
    )


def install_browser() -> None:
    """Tries Debian's package, then Playwright's own download."""
    if apt_install("chromium") and find_browser():
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
        "No browser that starts could be found or installed; on Debian: apt-get install chromium",
        file=sys.stderr,
    )
    return 1 if IN_CI else 0


if __name__ == "__main__":
    sys.exit(main())
