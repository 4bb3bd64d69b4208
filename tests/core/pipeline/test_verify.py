"""A verification from files alone: ledger, folder and suspect, where FiftyOne cannot be imported."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "format2"

BARE = """
import json, shutil, sys
from pathlib import Path

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fiftyone", "eta", "pymongo", "mongoengine"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refused())
import numpy as np
from fiftyone_honeyimage.core.ledger.ledger import load_ledger
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.pipeline.roles import pair_table
from fiftyone_honeyimage.core.pipeline.surroundings import Surroundings
from fiftyone_honeyimage.core.pipeline.verify import Call, begin, decide
from fiftyone_honeyimage.core.suspects import Suspect
from fiftyone_honeyimage.core.suspects.journal import Journal

golden, place, stop = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
folder = place / golden.name
if not folder.exists():
    shutil.copytree(golden, folder)
ledger = load_ledger(next(folder.glob("ledger*.json")))
manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
classes = sorted({image["label"] for image in manifest["images"]})
known = {
    read_image(folder / image.file).tobytes(): classes.index(image.label)
    for image in ledger.released_images()
}

class Thief(Suspect):
    name, digest, asked = "thief", "0" * 64, 0

    def answer(self, images, keys):
        Thief.asked += len(images)
        if 0 < stop < Thief.asked:
            raise KeyboardInterrupt
        logits = np.full((len(images), len(classes)), 0.0)
        for row, image in enumerate(images):
            logits[row, :] = np.random.default_rng(image.sum()).normal(0, 0.1, len(classes))
            if image.tobytes() in known:
                logits[row, known[image.tobytes()]] += 6
        return logits

call = Call(
    ledger=ledger,
    folder=folder,
    proxy_losses={image["source"]: image["proxy_loss"] for image in manifest["images"]},
    model=Thief(),
    classes=classes,
    batch_size=2,
    insist=True,
    around=Surroundings([np.full((8, 8, 3), grey, np.uint8) for grey in range(40)], [classes[0]] * 40),
)
with Journal.open(ledger.path, call.key()) as journal:
    begun = begin(call, journal)
    verdict = decide(call, begun, journal)
    rows = pair_table(begun.asked.recorded, ledger.released())
    journal.remove()
print(json.dumps({"verdict": verdict.to_dict(), "rows": rows, "asked": Thief.asked}))
"""


def _run(golden: Path, place: Path, stop: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, str(golden), str(place), str(stop)],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )


def test_a_verdict_without_fiftyone_and_after_an_interruption(tmp_path: Path) -> None:
    golden = GOLDEN / "fixed" / "marking"
    whole = _run(golden, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    found = json.loads(whole.stdout)
    assert found["verdict"]["num_failed"] == 0
    assert found["verdict"]["p_value"] == 2.0 ** -found["verdict"]["num_pairs"]
    assert all(row["released_loss"] < row["withheld_loss"] for row in found["rows"])
    assert found["verdict"]["paper"]["num_images"] == len(found["rows"])

    # Killed in the middle of the pairs: the same call goes on and asks about the rest alone
    twins = 2 * len(found["rows"])
    before = found["asked"] - twins
    cut = _run(golden, tmp_path / "cut", before + twins // 2)
    assert cut.returncode != 0
    assert "KeyboardInterrupt" in cut.stderr
    again = _run(golden, tmp_path / "cut")
    assert again.returncode == 0, again.stderr
    resumed = json.loads(again.stdout)
    assert resumed["asked"] < before + twins, "unmarked images again, and the rest of the twins"
    assert resumed["rows"] == found["rows"]
    assert resumed["verdict"]["p_value"] == found["verdict"]["p_value"]
    assert resumed["verdict"]["family_size"] == found["verdict"]["family_size"]


def test_who_asks_cannot_see_a_coin() -> None:
    """The part that asks imports nothing that holds coins, not even by way of others."""
    spec = importlib.util.spec_from_file_location("imports", ROOT / "scripts" / "imports.py")
    assert spec is not None
    assert spec.loader is not None
    imports = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imports)
    graph = imports.read_imports()
    reached, todo = set(), ["core.pipeline.questions"]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += graph[name]
    assert "core.ledger.sides" in reached, "what an image is"
    knowing = {"core.ledger.ledger", "core.ledger.creation", "core.pipeline.roles"}
    assert not reached & knowing
    assert "core.pipeline.questions" in graph["core.pipeline.verify"]
    assert "core.ledger.ledger" in graph["core.pipeline.verify"], "the check can fail"
