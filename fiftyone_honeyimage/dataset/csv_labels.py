"""The CSV file of a release, in UTF-8 on every machine."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

from fiftyone.utils.csv import CSVDatasetExporter


class CSVExporter(CSVDatasetExporter):
    """FiftyOne's exporter, which by itself writes in the machine's encoding, or fails where that lacks a letter.

    Args:
        export_dir: the folder to make
        columns: path of a field → its name in the file
    """

    _f: Any

    def __init__(self, export_dir: str, columns: Mapping[str, str]) -> None:
        self._columns = dict(columns)
        # The names are written below: numbers are the same in every encoding
        numbered = {path: str(number) for number, path in enumerate(columns)}
        super().__init__(export_dir, export_media=True, fields=numbered)

    def setup(self) -> None:
        super().setup()
        self._f.close()
        self._f = open(self.labels_path, "w", newline="", encoding="utf-8")  # noqa: SIM115
        self._csv_writer = csv.writer(self._f, quoting=csv.QUOTE_MINIMAL)
        self._csv_writer.writerow(self._columns.values())
