"""Measures of how visible a change is."""

from __future__ import annotations

import json
import math
import sys
import urllib.error
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchvision import models

from fiftyone_honeyimage.core import metrics
from fiftyone_honeyimage.core.errors import ImageError, ParameterError
from fiftyone_honeyimage.core.metrics import (
    LpipsMetric,
    LpipsUnavailable,
    compare_images,
    linf,
    psnr,
    ssim,
    stealthiness,
    worst_window,
)

#: Where the paper's networks are tapped: after which layers of torchvision's ``features``.
TAPS = {"alex": [1, 4, 7, 9, 11], "squeeze": [1, 4, 7, 9, 10, 11, 12], "vgg": [3, 8, 15, 22, 29]}
BUILDERS = {"alex": models.alexnet, "squeeze": models.squeezenet1_1, "vgg": models.vgg16}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A real colour photograph, 96x80."""
    from sklearn.datasets import load_sample_image

    return np.ascontiguousarray(load_sample_image("china.jpg")[100:180, 200:296])


@pytest.fixture(scope="module")
def noisy(photo) -> np.ndarray:
    noise = np.random.default_rng(51).integers(-4, 5, photo.shape)
    return np.clip(photo + noise, 0, 255).astype(np.uint8)


def random_features(net, seed=51) -> torch.nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BUILDERS[net](weights=None).features.eval()


def state_of(features) -> dict[str, torch.Tensor]:
    return {f"features.{key}": value for key, value in features.state_dict().items()}


@pytest.fixture(scope="module")
def alex_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "alex.pt"
    torch.save(state_of(random_features("alex")), path)
    return path


@pytest.fixture(scope="module")
def metric(alex_file) -> LpipsMetric:
    return LpipsMetric("alex", alex_file, device="cpu")


def lpips_by_the_paper(net, features, original, marked) -> float:
    """Equation 1 of Zhang et al. (2018) with the fitted heads, without any code of the package."""
    import lpips

    folder = lpips.__path__[0]
    heads = torch.load(f"{folder}/weights/v0.1/{net}.pth", map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    total = 0.0
    images = [
        (torch.from_numpy(x.copy()).permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1 - shift)
        / scale
        for x in (original, marked)
    ]
    taps = TAPS[net]
    with torch.no_grad():
        for i, layer in enumerate(features[: taps[-1] + 1]):
            images = [layer(x) for x in images]
            if i in taps:
                a, b = (x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in images)
                head = heads[f"lin{taps.index(i)}.model.1.weight"]
                total += float((head * (a - b) ** 2).sum(dim=1).mean())
    return total


def test_linf_is_the_largest_change(photo):
    marked = photo.copy()
    marked[3, 4, 1] += 3
    marked[5, 6, 2] -= 7
    assert linf(photo, marked) == 7
    assert linf(marked, photo) == 7
    assert linf(photo, photo) == 0
    assert linf(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)) == 255


def test_psnr_is_of_the_mean_squared_error(photo):
    from skimage.metrics import peak_signal_noise_ratio

    marked = photo ^ 4  # every channel changes by exactly 4
    assert psnr(photo, marked) == pytest.approx(20 * math.log10(255 / 4))
    assert psnr(photo, marked) == pytest.approx(peak_signal_noise_ratio(photo, marked))
    assert psnr(photo, photo) == math.inf


def test_ssim_is_the_formula_of_wang_et_al(photo, noisy):
    values = []
    for channel in range(3):
        x, y = (image[:, :, channel].astype(np.float64) for image in (photo, noisy))

        def blur(z):
            return gaussian_filter(z, 1.5, truncate=3.5)

        mx, my = blur(x), blur(y)
        vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        index = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        values.append(index[5:-5, 5:-5].mean())
    assert ssim(photo, noisy) == pytest.approx(np.mean(values), abs=1e-9)
    assert ssim(photo, photo) == pytest.approx(1)
    assert 0.9 < ssim(photo, noisy) < 1


def test_the_worst_window_is_the_spot_that_is_changed():
    rng = np.random.default_rng(0)
    original = np.full((600, 90, 3), 128, dtype=np.uint8)
    original[:, 40:] = rng.integers(60, 200, (600, 50, 3))
    marked = original.copy()
    # A dot of four levels in a plain sky, in the second strip of rows
    marked[400:406, 10:16] += 4
    assert ssim(original, marked) > 0.99
    worst = worst_window(original, marked)
    assert worst == pytest.approx(
        structural_similarity_of(original[395:411, 5:21], marked[395:411, 5:21]), abs=1e-6
    )
    assert worst < 0.95
    # The same change in what is busy shows less
    hidden = original.copy()
    hidden[400:406, 60:66] += 4
    assert worst_window(original, hidden) > 0.998
    assert worst_window(original, original) == 1
    assert worst_window(original[:10], original[:10]) is None


def structural_similarity_of(original, marked):
    """The lowest window, by scikit-image on a crop around it."""
    from skimage.metrics import structural_similarity

    _, similarity = structural_similarity(
        original,
        marked,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(similarity[5:-5, 5:-5].mean(axis=2).min())


def test_ssim_needs_its_window(photo):
    assert ssim(photo[:11, :11], photo[:11, :11]) == pytest.approx(1)
    with pytest.raises(ImageError, match=r"at least 11 pixels a side, got 40x10"):
        ssim(photo[:10, :40], photo[:10, :40])


def test_stealthiness():
    assert stealthiness(0) == 1
    assert stealthiness(0.1) == pytest.approx(1 / math.e)


@pytest.mark.parametrize("measure", [linf, psnr, ssim, worst_window, compare_images])
def test_only_pairs_of_one_size_are_compared(photo, measure):
    with pytest.raises(ImageError, match="a mark keeps the size"):
        measure(photo, photo[:-1])
    with pytest.raises(ImageError, match="the marked image: an image has dtype uint8"):
        measure(photo, photo.astype(np.float32))


@pytest.mark.parametrize("net", ["alex", "squeeze", "vgg"])
def test_lpips_is_the_papers_formula(photo, noisy, tmp_path, net):
    from safetensors.torch import save_file

    features = random_features(net)
    path = tmp_path / "backbone.safetensors"
    save_file({key: value.contiguous() for key, value in state_of(features).items()}, path)
    ours = LpipsMetric(net, path, device="cpu")(photo, noisy)
    assert ours > 0
    assert ours == pytest.approx(lpips_by_the_paper(net, features, photo, noisy), rel=1e-4)


@pytest.mark.parametrize(
    ("net", "file"),
    [("alex", "alexnet_features.safetensors"), ("squeeze", "squeezenet1_1_features.safetensors")],
)
def test_lpips_with_pretrained_backbones(photo, noisy, data_dir, net, file):
    path = data_dir / "lpips" / file
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    from safetensors.torch import load_file

    features = random_features(net)
    features.load_state_dict(
        {key.removeprefix("features."): value for key, value in load_file(path).items()}
    )
    pretrained = LpipsMetric(net, path, device="cpu")
    blurred = gaussian_filter(photo, (3, 3, 0))
    distances = []
    for marked in (noisy, blurred):
        distance = pretrained(photo, marked)
        expected = lpips_by_the_paper(net, features, photo, marked)
        assert distance == pytest.approx(expected, rel=1e-4)
        distances.append(distance)
    # a blur that anyone sees, and noise of at most 4/255 that hardly anyone does
    assert distances[0] < 0.05 < 0.2 < distances[1]


def test_lpips_of_a_batch_is_that_of_each_pair(photo, noisy, metric):
    pairs = [(photo, noisy), (photo, photo), (noisy, photo[:, ::-1].copy())]
    originals, marked = (
        torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2) for side in zip(*pairs, strict=True)
    )
    distances = metric.distances(originals, marked)
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances, [metric(*pair) for pair in pairs], rtol=1e-4, atol=1e-7)
    assert distances[1] == 0


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 32), (32, 80), (63, 64)])
def test_small_images_are_enlarged_for_lpips(photo, noisy, metric, height, width):
    a, b = photo[:height, :width], noisy[:height, :width]
    scale = 64 / height
    tensors = [torch.from_numpy(x.copy()).permute(2, 0, 1).unsqueeze(0).float() for x in (a, b)]
    enlarged = [
        torch.nn.functional.interpolate(x, (64, round(width * scale)), mode="bilinear") / 255
        for x in tensors
    ]
    with torch.no_grad():
        expected = float(metric._model(*enlarged, normalize=True))
    assert metric(a, b) == pytest.approx(expected, rel=1e-4)


def test_lpips_refuses_batches_of_two_shapes(metric):
    with pytest.raises(ImageError, match=r"\(1, 3, 8, 8\) and \(2, 3, 8, 8\)"):
        metric.distances(torch.zeros(1, 3, 8, 8), torch.zeros(2, 3, 8, 8))


def test_lpips_is_quiet_and_leaves_the_random_state_alone(alex_file, capsys):
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = LpipsMetric("alex", alex_file, device="cpu")
    assert capsys.readouterr() == ("", "")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(p.requires_grad for p in built._model.parameters())


def test_all_measures_at_once_are_what_json_can_hold(photo, noisy, metric):
    figures = compare_images(photo, noisy, metric)
    assert figures == {
        "linf": 4,
        "psnr": psnr(photo, noisy),
        "ssim": ssim(photo, noisy),
        "worst_window": worst_window(photo, noisy),
        "lpips": metric(photo, noisy),
        "stl": stealthiness(metric(photo, noisy)),
    }
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    without = compare_images(photo, noisy)
    assert without == {**figures, "lpips": None, "stl": None}


def test_what_cannot_be_measured_is_none(photo):
    same = compare_images(photo, photo)
    assert same["psnr"] is None
    assert same["linf"] == 0
    assert compare_images(photo[:8, :8], photo[:8, :8])["ssim"] is None


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty cache and no connection."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refused(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", refused)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("net", ["alex", "squeeze", "vgg"])
def test_without_a_connection_lpips_says_what_to_do(offline, net):
    with pytest.raises(LpipsUnavailable, match=r"cannot be downloaded.*Fetch https://.*\.pth") as e:
        LpipsMetric(net)
    assert str(offline) in str(e.value)
    assert "lpips_backbone" in str(e.value)


def test_a_download_with_the_wrong_hash_is_refused(offline, monkeypatch):
    def wrong(url, destination, hash_prefix=None, progress=True):
        raise RuntimeError('invalid hash value (expected "7be5be79", got "00000000")')

    monkeypatch.setattr("torch.hub.download_url_to_file", wrong)
    with pytest.raises(LpipsUnavailable, match="invalid hash value"):
        LpipsMetric("alex")


@pytest.mark.parametrize("package", ["lpips", "safetensors"])
def test_without_a_package_lpips_says_which(monkeypatch, tmp_path, package):
    from safetensors.torch import save_file

    path = tmp_path / "alex.safetensors"
    save_file(state_of(random_features("alex")), path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LpipsUnavailable, match=f"pip install {package}"):
        LpipsMetric("alex", path)


def test_an_unknown_net():
    with pytest.raises(ParameterError, match="alex, squeeze, vgg; got 'resnet'"):
        LpipsMetric("resnet")


class Boobytrap:
    def __reduce__(self):
        return (print, ("was run",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.pt", None, "no LPIPS backbone file"),
        ("a.bin", b"x", "is a .safetensors, .pt or .pth file"),
        ("a.pt", b"not a checkpoint", "cannot be read"),
        ("a.safetensors", b"not a checkpoint", "cannot be read"),
        ("a.pt", Boobytrap(), "cannot be read"),
        ("a.pt", [torch.zeros(3)], "holds a list"),
        ("a.pt", {"state_dict": {}}, r"lacks 'features.0.weight', which net='alex' needs"),
    ],
)
def test_backbone_files_that_cannot_be_used(tmp_path, capsys, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ParameterError, match=message):
        LpipsMetric("alex", path)
    assert "was run" not in capsys.readouterr().out


def test_the_backbone_of_another_net(alex_file):
    with pytest.raises(ParameterError, match=r"shape \(64, 3, 11, 11\), and net='squeeze' needs"):
        LpipsMetric("squeeze", alex_file)


def test_a_damaged_backbone(tmp_path):
    state = state_of(random_features("alex"))
    state["features.3.bias"] = torch.full_like(state["features.3.bias"], torch.nan)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ParameterError, match=r"NaN or infinity in 'features.3.bias'"):
        LpipsMetric("alex", tmp_path / "a.pt")


def test_torchvisions_whole_model_is_a_backbone_too(photo, noisy, tmp_path, alex_file):
    state = state_of(random_features("alex"))
    torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, tmp_path / "whole.pth")
    whole = LpipsMetric("alex", tmp_path / "whole.pth", device="cpu")
    assert whole(photo, noisy) == LpipsMetric("alex", alex_file, device="cpu")(photo, noisy)


def test_every_net_has_a_source():
    assert set(metrics._BACKBONES) == set(TAPS)


def test_large_images_are_compared_in_parts_with_the_same_result():
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (700, 40, 3), dtype=np.uint8)
    marked = np.clip(original + rng.integers(-9, 10, original.shape), 0, 255).astype(np.uint8)
    whole = structural_similarity(
        original,
        marked,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(original, marked) == pytest.approx(whole, abs=1e-9)
    difference = original.astype(float) - marked
    assert psnr(original, marked) == pytest.approx(10 * np.log10(255**2 / (difference**2).mean()))
    assert linf(original, marked) == np.abs(difference).max()
