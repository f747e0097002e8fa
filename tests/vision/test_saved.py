"""Heatmaps of files."""

import math

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import (
    ConfigError,
    DataFileError,
    NoPersonError,
    NotFiniteError,
    ShapeError,
)
from probpose.vision.pictures import heatmap_targets
from probpose.vision.saved import SavedHeatmaps


def people(count=3, width=48):
    return heatmap_targets(4 + (width - 9) * torch.rand(count, 17, 2, generator=make_generator(0)), 64)[..., :width]


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "single"])
@pytest.mark.parametrize("width", [48, 64])
def test_saved_maps_come_back(tmp_path, kind, width):
    from safetensors.torch import save_file

    maps, file = people(width=width), tmp_path / f"maps.{'npy' if kind == 'single' else kind}"
    if kind == "npz":
        np.savez(file, heatmaps=maps.numpy(), box=np.ones((3, 3)))
    elif kind == "safetensors":
        save_file({"heatmaps": maps.contiguous(), "box": torch.ones(3, 3)}, file)
    else:
        np.save(file, (maps[0] if kind == "single" else maps).numpy())
    saved = SavedHeatmaps(file)
    seen, pad = saved.detect(), (64 - width) // 2
    assert len(saved) == len(seen) == (1 if kind == "single" else 3) and (seen.box is not None) == (
        kind in ("npz", "safetensors")
    )
    assert (
        torch.allclose(seen.heatmaps[..., pad : 64 - pad], maps[: len(seen)], atol=1e-6)
        and not seen.heatmaps[..., :pad].any()
    )
    assert torch.allclose(seen.scores, maps[: len(seen)].amax((-1, -2)))


def test_saved_maps_with_features(tmp_path, detector, spots):
    np.save(tmp_path / "maps.npy", people().numpy())
    saved = SavedHeatmaps(tmp_path / "maps.npy", features=detector)
    images = spots(3).images
    assert torch.allclose(saved.detect(images, box=torch.ones(3, 3)).features, detector.features_of(images), atol=1e-5)
    with pytest.raises(ConfigError, match="one picture"):
        saved.detect(images[:2])


@pytest.mark.parametrize(
    "maps, error, words",
    [
        (people() * 0, NoPersonError, "an image without a person"),
        (torch.cat([people(2), people(1) * 0]), NoPersonError, "index 2"),
        (people()[:, :16], ShapeError, "17"),
        (people()[0, 0], ShapeError, "17"),
        (people() - 0.5, ConfigError, "negative"),
        (people() * 200, ConfigError, "divide"),
        ((people() * 255).to(torch.uint8), ShapeError, "255"),
        (torch.where(people() > 0.9, math.nan, people()), NotFiniteError, "heatmaps"),
        (people().mT.contiguous(), ShapeError, "axes"),
    ],
)
def test_saved_maps_that_are_none(tmp_path, maps, error, words):
    np.save(tmp_path / "maps.npy", maps.numpy())
    with pytest.raises(error, match=words):
        SavedHeatmaps(tmp_path / "maps.npy")


def test_slightly_negative_maps_are_clamped(tmp_path):
    np.save(tmp_path / "maps.npy", (people() - 1e-3).numpy())
    assert SavedHeatmaps(tmp_path / "maps.npy").maps.min() == 0


@pytest.mark.parametrize(
    "name", ["none.npy", "maps.txt", "bad.npy", "bad.npz", "bad.safetensors", "pickle.npy", "names.npz", "half.npz"]
)
def test_files_that_cannot_be_read(tmp_path, name):
    file = tmp_path / name
    if name == "maps.txt" or name.startswith("bad"):
        file.write_bytes(b"this is text")
    elif name == "pickle.npy":
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif name == "names.npz":
        np.savez(file, a=np.zeros(3), b=np.zeros(3))
    elif name == "half.npz":
        np.savez(file, heatmaps=people().numpy())
        file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataFileError, match=str(file)):
        SavedHeatmaps(file)


@pytest.mark.parametrize(
    "arrays, error, words",
    [
        (
            dict(heatmaps=np.full((1, 17, 64, 64), 2.4e-4, np.float32), box=np.zeros((1, 3), np.float32)),
            ConfigError,
            "sum to one",
        ),
        (
            dict(heatmaps=np.full((2, 17, 64, 64), 0.5, np.float32), box=np.zeros((3,), np.float32)),
            ShapeError,
            "one for each",
        ),
    ],
)
def test_saved_maps_that_lost_something(tmp_path, arrays, error, words):
    np.savez(tmp_path / "maps.npz", **arrays)
    with pytest.raises(error, match=words):
        SavedHeatmaps(tmp_path / "maps.npz")
