"""The command line from the plugin's folder: ``python <this folder> check evidence.json``.

For whoever has the plugin's files and not the package: FiftyOne downloads plugins without installing them.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python itself looks in this folder, unless it was told to trust no folder (`python -P`, `-I`)
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fiftyone_honeyimage.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
