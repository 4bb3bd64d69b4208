"""A FiftyOne of a benchmark's own: its database, its plugins, its folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from private_database import private_database

ROOT = Path(__file__).parents[1]


@contextmanager
def private_fiftyone(folder: Path) -> Iterator[None]:
    """FiftyOne with nothing but this plugin, on a database in a folder, until the context ends.

    Args:
        folder: where database, plugins and exported datasets lie; created if missing. A database that
            lies there is opened again

    Enter it before FiftyOne is imported, which reads the environment and connects to the database.
    """
    folder = folder.resolve()
    plugins = folder / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    link = plugins / "honeyimage"
    if not link.is_symlink():
        link.symlink_to(ROOT, target_is_directory=True)
    with private_database(folder / "db") as uri:
        os.environ.update(
            FIFTYONE_DATABASE_URI=uri,
            FIFTYONE_DEFAULT_DATASET_DIR=str(folder / "datasets"),
            FIFTYONE_DO_NOT_TRACK="true",
            FIFTYONE_PLUGINS_DIR=str(plugins),
            FIFTYONE_SHOW_PROGRESS_BARS="false",
        )
        yield
