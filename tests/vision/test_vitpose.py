"""ViTPose as a detector."""

import sys

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, UnknownNameError
from probpose.vision.vitpose import VitPoseDetector, square_maps


@pytest.fixture(scope="module")
def vitpose(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = transformers.VitPoseBackboneConfig(
            image_size=[256, 192], hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2
        )
        model = transformers.VitPoseForPoseEstimation(
            transformers.VitPoseConfig(backbone_config=backbone, num_labels=17)
        )
    folder = tmp_path_factory.mktemp("vitpose")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("whole", [False, True])
def test_vitpose_gives_square_maps(vitpose, detector, whole):
    images = torch.randint(0, 256, (3, 256, 256, 3), dtype=torch.uint8, generator=make_generator(0))
    seen = VitPoseDetector(vitpose, features=detector, whole=whole, device="cpu").detect(
        images, box=torch.ones(3, 3), chunk=2
    )
    assert (
        seen.heatmaps.shape == (3, 17, 64, 64)
        and seen.skeleton == "coco_17"
        and seen.features.shape == (3, detector.feature_width)
        and seen.box is not None
    )
    if not whole:
        assert not seen.heatmaps[..., :7].any() and not seen.heatmaps[..., 57:].any()
    assert VitPoseDetector(vitpose, device="cpu").detect(images[0]).features is None


def test_vitpose_without_weights_or_package(vitpose, tmp_path, monkeypatch):
    for weights in (tmp_path / "none", tmp_path, "nobody/no-such-weights"):
        with pytest.raises(ConfigError, match="nothing is downloaded"):
            VitPoseDetector(weights)
    (tmp_path / "config.json").write_text((vitpose / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="ViTPose"):
        VitPoseDetector(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match="pip install"):
        VitPoseDetector(vitpose)
    with pytest.raises(UnknownNameError):
        VitPoseDetector.detect(object(), torch.zeros(1, 256, 256, 3, dtype=torch.uint8), skeleton="mpii_16")


def test_portraits_are_padded_where_they_belong():
    maps = torch.rand(2, 17, 64, 48, generator=make_generator(0))
    assert torch.equal(square_maps(maps)[..., 8:56], maps) and torch.allclose(
        square_maps(maps.repeat_interleave(2, -1).repeat_interleave(2, -2)).sum((-1, -2)), maps.sum((-1, -2)), rtol=1e-2
    )
