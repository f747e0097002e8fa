"HuMR's HRNet as timm builds it against one written down plainly, on the same state dict."

import copy

import pytest
import torch
from torch.nn import functional as F

from probpose.core.errors import CheckpointError, ConfigError, ShapeError, UnknownNameError
from probpose.core.optional import import_torchvision_users
from probpose.models.convert.backbone import BackboneCrops, convert_backbone, crop_detector_of, load_backbone
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.vision.hrnet import load_detector

try:
    import_torchvision_users("timm")
except ConfigError:
    pytest.skip("needs timm", allow_module_level=True)

WIDTH, MODULES, BLOCKS = 18, (1, 4, 3), 4


def layout(width):
    "Convolutions (outputs, inputs, side) and channels of batch norms by key, as the authors' HRNet names them."
    convolutions, norms = {}, {}

    def add(convolution, norm, after, before, side):
        convolutions[convolution], norms[norm] = (after, before, side, side), after

    add("conv1", "bn1", 64, 3, 3)
    add("conv2", "bn2", 64, 64, 3)
    for i in range(4):
        name, before = f"layer1.{i}", 256 if i else 64
        for k, (a, b, side) in enumerate(((64, before, 1), (64, 64, 3), (256, 64, 1)), 1):
            add(f"{name}.conv{k}", f"{name}.bn{k}", a, b, side)
        if not i:
            add(f"{name}.downsample.0", f"{name}.downsample.1", 256, 64, 1)
    channels = [width * 2**k for k in range(4)]
    add("transition1.0.0", "transition1.0.1", width, 256, 3)
    add("transition1.1.0.0", "transition1.1.0.1", 2 * width, 256, 3)
    for stage in (2, 3):
        name = f"transition{stage}.{stage}.0"
        add(f"{name}.0", f"{name}.1", channels[stage], channels[stage - 1], 3)
    for stage, modules in zip((2, 3, 4), MODULES):
        for m in range(modules):
            for b in range(stage):
                for block in range(BLOCKS):
                    for k in (1, 2):
                        name = f"stage{stage}.{m}.branches.{b}.{block}"
                        add(f"{name}.conv{k}", f"{name}.bn{k}", channels[b], channels[b], 3)
            for to in range(stage):
                for of in range(stage):
                    name = f"stage{stage}.{m}.fuse_layers.{to}.{of}"
                    if of > to:
                        add(f"{name}.0", f"{name}.1", channels[to], channels[of], 1)
                    for step in range(to - of):
                        after = channels[to] if step == to - of - 1 else channels[of]
                        add(f"{name}.{step}.0", f"{name}.{step}.1", after, channels[of], 3)
    for k, steps in enumerate((3, 2, 1)):
        for step in range(steps):
            name = f"downsample_stage_{k + 1}"
            add(f"{name}.{3 * step}", f"{name}.{3 * step + 1}", channels[k], channels[k], 3)
    return convolutions, norms


@pytest.fixture(scope="module")
def state():
    g, found = torch.Generator().manual_seed(0), {}
    convolutions, norms = layout(WIDTH)
    for key, shape in convolutions.items():
        found[f"{key}.weight"] = torch.randn(shape, generator=g) * (0.3 / (shape[1] * shape[2] ** 2)) ** 0.5
    for key, channels in norms.items():
        found |= {f"{key}.weight": 0.8 + 0.2 * torch.rand(channels, generator=g)}
        found |= {f"{key}.running_var": 0.5 + torch.rand(channels, generator=g)}
        found |= {f"{key}.{part}": 0.1 * torch.randn(channels, generator=g) for part in ("bias", "running_mean")}
        found[f"{key}.num_batches_tracked"] = torch.tensor(1000)
    return found | {"final_layer.weight": torch.ones(24, WIDTH, 1, 1), "final_layer.bias": torch.ones(24)}


def unit(state, convolution, norm, x, stride=1, relu=True):
    weight = state[f"{convolution}.weight"]
    x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)
    parts = (state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    x = F.batch_norm(x, *parts)
    return x.relu() if relu else x


def basic(state, name, x):
    inner = unit(state, f"{name}.conv1", f"{name}.bn1", x)
    return (unit(state, f"{name}.conv2", f"{name}.bn2", inner, relu=False) + x).relu()


def bottleneck(state, name, x):
    inner = x
    for k in (1, 2, 3):
        inner = unit(state, f"{name}.conv{k}", f"{name}.bn{k}", inner, relu=k < 3)
    if f"{name}.downsample.0.weight" in state:
        x = unit(state, f"{name}.downsample.0", f"{name}.downsample.1", x, relu=False)
    return (inner + x).relu()


def fused(state, name, xs):
    answers = []
    for to in range(len(xs)):
        total = 0
        for of, x in enumerate(xs):
            key = f"{name}.fuse_layers.{to}.{of}"
            if of > to:
                x = F.interpolate(unit(state, f"{key}.0", f"{key}.1", x, relu=False), scale_factor=2 ** (of - to))
            for step in range(to - of):
                x = unit(state, f"{key}.{step}.0", f"{key}.{step}.1", x, 2, relu=step < to - of - 1)
            total = total + x
        answers.append(total.relu())
    return answers


def plain_features(state, pictures):
    x = (pictures - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    x = unit(state, "conv2", "bn2", unit(state, "conv1", "bn1", x, 2), 2)
    for i in range(4):
        x = bottleneck(state, f"layer1.{i}", x)
    xs = [unit(state, "transition1.0.0", "transition1.0.1", x)]
    xs.append(unit(state, "transition1.1.0.0", "transition1.1.0.1", x, 2))
    for stage, modules in zip((2, 3, 4), MODULES):
        if stage > 2:
            name = f"transition{stage - 1}.{stage - 1}.0"
            xs = [*xs, unit(state, f"{name}.0", f"{name}.1", xs[-1], 2)]
        for m in range(modules):
            for b in range(stage):
                for block in range(BLOCKS):
                    xs[b] = basic(state, f"stage{stage}.{m}.branches.{b}.{block}", xs[b])
            xs = fused(state, f"stage{stage}.{m}", xs)
    for k, steps in enumerate((3, 2, 1)):
        for step in range(steps):
            name = f"downsample_stage_{k + 1}"
            xs[k] = unit(state, f"{name}.{3 * step}", f"{name}.{3 * step + 1}", xs[k], 2)
    return torch.cat(xs, 1).mean((-2, -1))


def as_checkpoint(state):
    return {"state_dict": {f"model.backbone.{key}": value for key, value in state.items()}}


def test_features_are_those_of_the_plain_network(state, saved, tmp_path):
    backbone = convert_backbone(saved(as_checkpoint(state), "humr.ckpt"))
    assert backbone.config.width == WIDTH
    pictures = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = plain_features(state, pictures)
    mine = backbone.features_of(pictures)
    assert mine.shape == (2, 15 * WIDTH) and 0.05 < float(wanted.abs().mean()) < 10
    assert torch.allclose(mine, wanted, atol=1e-5, rtol=1e-5)
    backbone.save_pretrained(tmp_path / "out")
    assert torch.equal(load_backbone(tmp_path / "out").features_of(pictures), mine)
    with pytest.raises(ShapeError, match="224"):
        backbone.features_of(torch.rand(1, 3, 200, 200))
    with pytest.raises(UnknownNameError):
        load_backbone(tmp_path)


@pytest.fixture(scope="module")
def backbone(state, tmp_path_factory):
    file = tmp_path_factory.mktemp("backbone") / "humr.ckpt"
    torch.save(as_checkpoint(state), file)
    return convert_backbone(file)


def test_beside_a_detector_only_features_are_the_backbones(state, backbone):
    eyes = load_detector()
    crops = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    seen, own = BackboneCrops(backbone, eyes).detect(crops), eyes.detect(crops)
    assert torch.equal(seen.keypoints, own.keypoints) and torch.equal(seen.heatmaps, own.heatmaps)
    with torch.no_grad():
        wanted = plain_features(state, F.interpolate(crops, (224, 224), mode="bilinear", antialias=True))
    assert seen.detector == "official" and torch.allclose(seen.features, wanted, atol=1e-4)
    as_bytes = (255 * crops.permute(0, 2, 3, 1)).round().to(torch.uint8)
    assert torch.allclose(BackboneCrops(backbone, eyes).look(as_bytes).features, wanted, atol=0.02)
    with pytest.raises(ShapeError):
        BackboneCrops(backbone, eyes).features_of(crops[0, 0])


def test_a_detector_is_known_by_both_of_its_networks(backbone):
    eyes = load_detector()
    first, again = BackboneCrops(backbone, eyes).fingerprint, BackboneCrops(backbone, eyes).fingerprint
    changed = copy.deepcopy(backbone)
    with torch.no_grad():
        changed.hrnet.bn1.bias += 1e-3
    assert first == again != BackboneCrops(changed, eyes).fingerprint and first != eyes.fingerprint


def test_converted_weights_ask_for_the_backbone_in_their_folder(backbone, tmp_path):
    model = HuMR(HuMRConfig.for_tier("smoke", detector="official", features=15 * WIDTH))
    with pytest.raises(ConfigError, match="convert the authors' file again"):
        crop_detector_of(model, tmp_path)
    backbone.save_pretrained(tmp_path)
    found = crop_detector_of(model, tmp_path)
    assert found.fingerprint == BackboneCrops(backbone).fingerprint and found.feature_width == model.config.features
    assert crop_detector_of(HuMR(HuMRConfig.for_tier("smoke", detector="open")), tmp_path).name == "open"


def test_everything_that_does_not_fit_is_listed(state, saved):
    gone = ("stage4.2.fuse_layers.3.0.2.0.weight", "downsample_stage_1.6.weight", "bn1.running_mean")
    wrong = {key: value for key, value in state.items() if key not in gone}
    wrong |= {"upsample_stage_2.1.weight": torch.ones(1), "conv1.weight": torch.ones(64, 4, 3, 3)}
    with pytest.raises(CheckpointError) as error:
        convert_backbone(saved(as_checkpoint(wrong), "humr.ckpt"))
    for words in (*gone, "upsample_stage_2.1.weight", "(64, 4, 3, 3), expected (64, 3, 3, 3)", "humr.ckpt"):
        assert words in str(error.value), words


def test_a_width_that_no_hrnet_has_is_refused(state, saved):
    odd = {"stage4.0.branches.0.0.conv1.weight": torch.ones(7, 7, 3, 3)}
    with pytest.raises(CheckpointError, match="hrnet_w7"):
        convert_backbone(saved(as_checkpoint(odd), "humr.ckpt"))
    with pytest.raises(CheckpointError, match=r"other shapes \(1\): model.backbone.stage4.0.branches.0.0.conv1.weight"):
        convert_backbone(saved(as_checkpoint(state | odd), "humr.ckpt"))
