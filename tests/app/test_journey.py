"""A newcomer's way through the App, from an open dataset to verdicts on three suspects."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from app_page import AppPage
from PIL import Image

PROTECT, VERIFY = "HoneyImage protection", "HoneyImage verification"

KEY = "release_2026"

#: Sections of the verification panel, and what each says
SECTIONS = {
    "Pairs": "16 pairs used",
    "Loss gap": "never decide",
    "Compare": "Effect (95 %)",
    "Record": "SHA-256 of the suspect",
    "Verdict": "How the losses are distributed",
}

pytestmark = [pytest.mark.browser, pytest.mark.slow]

INSIST = "Verify it even if it looks asked in a wrong way"


def train(files: Iterable[tuple[Path, str]], network: str, epochs: int, save_as: Path) -> Path:
    """Trains a model on image files as a stranger would, and saves it as TorchScript."""
    from fiftyone_honeyimage.core.models import build_model
    from fiftyone_honeyimage.core.training import TrainingConfig, train_models

    pairs = sorted(files)
    classes = sorted({label for _, label in pairs})
    stack = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in pairs])
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor([classes.index(label) for _, label in pairs])
    model = build_model(network, len(classes), input_size=images.shape[-1], seed=7)
    train_models(
        [model], images, labels, config=TrainingConfig(epochs=epochs, flip=False), seeds=[7]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(model.cpu().eval(), images[:2].float() / 255)
        torch.jit.save(scripted, str(save_as))
    return save_as


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Where the suspects are: their paths are typed key by key, and the form is made anew at each."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_from_a_dataset_to_verdicts(
    noisy_digits: Any,
    worker: Any,
    open_window: Callable[..., AppPage],
    screens: Callable[..., None],
    picture: Callable[..., None],
    short_folder: Path,
) -> None:
    dataset = noisy_digits
    window = open_window(dataset)
    take = partial(screens, window)
    take("dataset")

    thief = twelve_clicks(window, take, dataset, short_folder)
    look_at_the_marking(window, take, picture)
    look_at_the_verdict(window, take, picture)
    verify_two_more(window, take, dataset, thief)
    compare(window, take, picture)
    by_keyboard(window, take)
    rename_and_delete(window, take, dataset)
    change_the_theme(window, take)
    look_at_changed_images(window, take, picture, dataset)


def twelve_clicks(window: AppPage, take: Any, dataset: Any, folder: Path) -> Path:
    """The newcomer: at most twelve clicks, and nothing typed but a name and a model's path."""
    fhi = importlib.import_module("fiftyone_honeyimage")
    page = window.page
    window.open_panel(PROTECT)
    window.press("Compute hardness…")
    take("hardness-form")
    window.press("Schedule")
    page.locator(".bars path").first.wait_for()
    take("hardness")

    window.press("Generate HoneyImages…")
    window.type_into(window.field("Name of the marking"), KEY)
    take("generate-form")
    window.press("Schedule")
    page.get_by_text("matches the commitment").wait_for()
    take("marking")

    window.press("Export release…")
    take("export-form")
    window.press("Schedule")
    window.form.wait_for(state="detached")
    page.get_by_text(f"digits-{KEY}", exact=True).wait_for()
    take("release")

    dataset.reload()
    (release,) = fhi.list_releases(dataset, KEY)
    stolen = [(path, path.parent.name) for path in release.export_dir.rglob("*.png")]
    assert len(stolen) == release.num_images
    thief = train(stolen, "resnet_tiny", 60, folder / "thief.pt")

    window.press("Verify a model…")
    window.type_into(window.field("Model file"), str(thief))
    take("verify-form")
    window.press("Schedule")
    page.get_by_text("Derived from the release:", exact=True).wait_for()
    take("verdict")
    assert len(window.clicks) <= 12, window.clicks
    assert window.typed == [KEY, str(thief)]
    return thief


def look_at_the_marking(window: AppPage, take: Any, picture: Any) -> None:
    """From the histogram into the grid; that nothing was changed."""
    page = window.page
    window.show_tab(PROTECT)
    bars = window.plot("Hardness by class").locator(".bars path")
    window.open_from_plot(bars.first, "bar of the histogram", lambda count: 0 < count < 300)
    take("bar")
    picture(window, "protection-panel", below="Hardness by class")
    page.get_by_text("No pixel differs from the originals").scroll_into_view_if_needed()
    take("nothing-changed")


def look_at_the_verdict(window: AppPage, take: Any, picture: Any) -> None:
    """From a pair of losses, and from a row of the table, into the grid; every section."""
    page = window.page
    window.show_tab(VERIFY)
    losses = window.plot("Loss on released against withheld twins")
    window.open_from_plot(losses.locator("path.point").first, "pair", lambda count: count == 4)
    take("pair")
    picture(window, "verification-panel", below="Verification")
    for section in SECTIONS:
        window.press(section)
        page.get_by_text(SECTIONS[section]).first.wait_for()
        take(f"section-{section}")


def verify_two_more(window: AppPage, take: Any, dataset: Any, thief: Path) -> None:
    """Two innocent models: one trained on the same images without the marked ones, one that tells labels only."""
    page = window.page
    marked = set(dataset.exists(f"{KEY}.source").values("id"))
    clean = dataset.match_tags("honeyimage", bool=False).exclude(marked)
    files = zip(clean.values("filepath"), clean.values("ground_truth.label"), strict=True)
    innocent = train(
        [(Path(path), label) for path, label in files],
        "wrn28_2",
        2,
        thief.with_name("innocent.pt"),
    )
    window.press("Verify a model…")
    window.type_into(window.field("Model file"), str(innocent))
    # Two epochs teach it little, and the other one guesses: the owner says that they are asked rightly
    window.confirm(INSIST)
    window.press("Schedule")
    page.get_by_role("combobox").filter(has_text=f"{KEY}_verification_2").wait_for()
    page.get_by_text("Not shown to be derived from the release:").wait_for()
    take("innocent")

    rng = np.random.default_rng(0)
    honey = dataset.match_tags("honeyimage")
    fo = importlib.import_module("fiftyone")
    guesses = [fo.Classification(label=str(guess)) for guess in rng.integers(0, 10, len(honey))]
    honey.set_values("guesses", guesses)
    window.press("Verify a model…")
    window.click(window.form.get_by_text("A field of predictions"), "A field of predictions")
    window.choose("Field", "guesses")
    window.confirm(INSIST)
    take("verify-form-field")
    window.press("Schedule")
    page.get_by_role("combobox").filter(has_text=f"{KEY}_verification_3").wait_for()
    page.get_by_text("Accuracy on released and withheld twins").wait_for()
    take("guesses")


def compare(window: AppPage, take: Any, picture: Any) -> None:
    """All three in one view."""
    window.press("Compare")
    page = window.page
    for name in ("thief", "innocent", "field guesses"):
        page.get_by_role("cell", name=name, exact=True).wait_for()
    page.get_by_text("Holm's correction").wait_for()
    take("compare")
    picture(window, "suspects-compared", below="Verification")


def by_keyboard(window: AppPage, take: Any) -> None:
    """From one section to the next without a mouse, and nothing is wider than its panel."""
    page = window.page
    page.get_by_role("button", name="Loss gap", exact=True).focus()
    for section in ("Compare", "Record"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == section
    page.keyboard.press("Space")  # the App keeps Enter for itself
    page.get_by_text(SECTIONS["Record"]).wait_for()
    assert too_wide(window) == []
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    page.get_by_text("Holm's correction").wait_for()
    take("by-keyboard")
    assert too_wide(window) == []


def too_wide(window: AppPage) -> list[str]:
    """What scrolls sideways in the panel that is shown, in a window of 1280×720."""
    panel = window.page.locator("[data-cy$=protect_panel], [data-cy$=verification_panel]").last
    assert panel.get_attribute("data-cy").startswith("panel-content-")
    return panel.evaluate(
        """panel => [panel, ...panel.querySelectorAll("*")].filter(element =>
            ["auto", "scroll"].includes(getComputedStyle(element).overflowX)
            && element.scrollWidth > element.clientWidth + 1
        ).map(e => `${e.tagName}, ${e.scrollWidth} by ${e.clientWidth}: ${e.textContent.slice(0, 200)}`)"""
    )


def rename_and_delete(window: AppPage, take: Any, dataset: Any) -> None:
    """A verification gets another name, and goes."""
    page = window.page
    window.press("Record")
    window.press("Rename…")
    window.type_into(window.field("New key"), "labels_only")
    take("rename-form")
    window.submit("Rename")
    page.get_by_role("combobox").filter(has_text="labels_only").wait_for()
    take("renamed")
    window.press("Record")
    window.press("Delete…")
    window.confirm("Delete 'labels_only'")
    take("delete-form")
    window.submit("Delete")
    page.get_by_role("combobox").filter(has_text=f"{KEY}_verification_2").wait_for()
    take("deleted")
    dataset.reload()
    assert "labels_only" not in dataset.list_runs()


def change_the_theme(window: AppPage, take: Any) -> None:
    """The light theme, for both panels."""
    page = window.page
    window.click(page.locator("[data-testid=LightModeIcon]"), "light theme")
    page.locator("[data-testid=DarkModeIcon]").wait_for()
    window.press("Verdict")
    page.locator("path.point").first.wait_for()
    take("light-verdict")
    window.show_tab(PROTECT)
    page.locator(".bars path").first.wait_for()
    take("light-marking")
    assert too_wide(window) == []


def look_at_changed_images(window: AppPage, take: Any, picture: Any, dataset: Any) -> None:
    """A second marking, which changes its images: from the visibility plot into the grid, and the pictures side by side."""
    fhi = importlib.import_module("fiftyone_honeyimage")
    fhi.generate_honeyimages(
        dataset,
        "ground_truth",
        "changed",
        "honeyimage",
        num_pairs=6,
        num_honeyimages=6,
        proxy="resnet_tiny",
        training={"epochs": 4},
        device="cpu",
        trade_off=0,
        progress=False,
    )
    page = window.page
    window.press("Refresh")
    page.get_by_role("combobox").filter(has_text="changed").wait_for()
    points = window.plot("Each HoneyImage").locator("path.point")
    window.open_from_plot(points.first, "a HoneyImage", lambda count: count == 2)
    take("point")
    page.get_by_alt_text("HoneyImage of sample").first.scroll_into_view_if_needed()
    take("side-by-side")
    picture(window, "side-by-side", below="Side by side")
