"""Measurements on real data, each of them a command; results stand beside them as JSON."""

import sys
from pathlib import Path

# The private database and the page of the App are there, which the tests use too
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
