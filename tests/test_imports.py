"""What is only looked at needs no torch, which takes seconds to import: panels, lists, stored runs."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

CODE = """
import json, sys
import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators.executor import ExecutionContext

dataset = fo.load_dataset(sys.argv[1])
uri = "@honeyimage/ownership/"
found, heavy = {}, {}

def note_heavy(after):
    heavy[after] = [name for name in ("torch", "torchvision", "lpips") if name in sys.modules]

def send(panel, method, **request):
    params = {"panel_id": "panel", "__method__": method, "panel_state": {}}
    result = foo.execute_operator(uri + panel, dataset=dataset, params=params, **request)
    asked = [(r.operator_uri.rpartition("/")[2], r.params) for r in result.executor._requests]
    (output,) = [params["output"] for name, params in asked if name == "show_panel_output"]
    return {"output": json.dumps(output), "asked": [name for name, _ in asked]}

def context(operator, **params):
    request = {"dataset_name": dataset.name, "params": params}
    return ExecutionContext(request, operator_uri=operator.uri)

honey = dataset.match_tags("honeyimage").first().id
found["protect"] = send("protect_panel", "on_load")
found["verification"] = send("verification_panel", "on_load")
found["sample"] = send("protect_panel", "on_load", current_sample=honey)
note_heavy("panels")

own = [o for o in foo.list_operators() if o.uri.startswith(uri)]
found["placements"] = [o.config.name for o in own if o.resolve_placement(context(o)) is not None]
note_heavy("placements")

for name in ("list_runs", "rename_run", "delete_run", "export_evidence"):
    operator = foo.get_operator(uri + name)
    form = operator.resolve_type(context(operator, key="honey", verify_key="thief"), "inputs")
    found[name] = json.dumps(form.to_json())
note_heavy("forms")

import fiftyone_honeyimage as fhi

found["runs"] = [run.key for run in fhi.list_runs(dataset)]
marking = fhi.load_marking(dataset, "honey")
found["pairs"] = len(marking.load_ledger().pairs)
found["view"] = len(marking.view())
found["verdict"] = fhi.load_verification(dataset, "thief").verdict.verdict
found["note"] = fhi.read_note(dataset, "honey").text
found["releases"] = len(fhi.list_releases(dataset, "honey"))
fhi.export_evidence(dataset, "thief", sys.argv[2])
note_heavy("SDK")

print(json.dumps([found, heavy]))
"""


def test_looking_needs_no_torch(
    make_marked: Callable[..., Any], verify: Any, tmp_path: Path
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked(num_pairs=14)
    verify(dataset, "thief", released=0.9, withheld=0.2)
    fhi.write_note(dataset, "honey", "For the spring release")
    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)

    done = subprocess.run(
        [sys.executable, "-c", CODE, dataset.name, str(tmp_path / "evidence.json")],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
    )

    assert done.returncode == 0, done.stderr
    found, heavy = json.loads(done.stdout.splitlines()[-1])
    # The panels have shown what they read, and no error in its place
    for text in ("matches the commitment", "out-of-fold accuracy", "For the spring release"):
        assert text in found["protect"]["output"]
    assert "Derived" in found["verification"]["output"]
    assert "comparison_caption" in found["sample"]["output"]
    assert "patch_panel_data" in found["sample"]["asked"], "no pictures were sent"
    assert {"compute_hardness", "verify_model"} <= set(found["placements"])
    assert all("honey" in found[form] for form in ("rename_run", "delete_run"))
    assert "thief" in found["export_evidence"]
    assert set(found["runs"]) == {"honey_hardness", "honey", "thief"}
    assert (found["pairs"], found["view"], found["releases"]) == (14, 56, 1)
    assert (found["verdict"], found["note"]) == ("derived", "For the spring release")
    assert heavy == {"panels": [], "placements": [], "forms": [], "SDK": []}
