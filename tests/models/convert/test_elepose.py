"ElePose's released layout: the lifter against a plain version, the flow against FrEIA itself, poses and densities."

import math

import numpy as np
import pytest
import torch
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from torch import nn
from torch.nn import functional as F

from probpose.core.devices import seeded
from probpose.core.errors import CheckpointError, ConfigError
from probpose.evidence.detections import Detections
from probpose.models.convert import convert_checkpoint, convert_official

UNIT = 145.5329587164913
OF_32 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 25, 26, 27, 17, 18, 19]  # the authors' loader
USUAL = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]  # Human3.6M-17 everywhere else
BLOCKS = ("res_common", "res_pose1", "res_pose2", "res_angle1", "res_angle2")


@pytest.fixture(scope="module")
def lifter(random_state, linear_shapes):
    def make(width=1024, seed=0):
        layers = {"upscale": (width, 34), "depth": (17, width), "angles": (1, width)}
        layers |= {f"{block}.l{i}": (width, width) for block in BLOCKS for i in (1, 2)}
        state = random_state(linear_shapes(layers), seed)
        for name in (f"{block}.bn{i}" for block in BLOCKS for i in (1, 2)):
            state |= {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}
            state |= {f"{name}.running_mean": torch.zeros(width), f"{name}.running_var": torch.ones(width)}
            state |= {f"{name}.num_batches_tracked": torch.tensor(0)}
        return state

    return make


def freia_flow(dim=26, blocks=8, hidden=1024, seed=0):
    "FrEIA's own blocks, every parameter moved away from where it starts."

    def subnet(a, b):
        return nn.Sequential(nn.Linear(a, hidden), nn.ReLU(), nn.Linear(hidden, b))

    flow = SequenceINN(dim)
    with seeded(seed):
        for _ in range(blocks):
            flow.append(AllInOneBlock, subnet_constructor=subnet, permute_soft=True)
        with torch.no_grad():
            for block in flow.module_list:
                block.global_scale += 0.3 * torch.randn(1, dim)
                block.global_offset += 0.3 * torch.randn(1, dim)
    return flow


@pytest.fixture(scope="module")
def pca():
    "scikit-learn's attributes: mean, components by rows, shares of variance; the root never moves."
    rng = np.random.default_rng(0)
    free = [c for c in range(34) if c not in (0, 17)]
    mean, components = np.zeros(34), np.zeros((34, 34))
    mean[free] = 0.02 * rng.normal(size=32)
    components[:32, free] = np.linalg.qr(rng.normal(size=(32, 32)))[0]
    components[32, 0] = components[33, 17] = 1
    return dict(mean=mean, components=components, explained_variance_ratio=np.linspace(1, 0, 34) ** 2 / 11.8)


@pytest.fixture
def files(lifter, pca, saved, tmp_path):
    "Lifter, flow and components, small."
    np.savez(tmp_path / "pca.npz", **pca)
    return (
        saved(lifter(24), "lifter.pt"),
        saved(freia_flow(hidden=12, blocks=2).state_dict(), "flow.pt"),
        tmp_path / "pca.npz",
    )


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def residual(state, name, x):
    "A leaky ReLU inside, and one more after the block, as the authors call it."
    inner = F.leaky_relu(linear(state, f"{name}.l2", F.leaky_relu(linear(state, f"{name}.l1", x))))
    return F.leaky_relu(x + inner)


def plain_lifter(state, p2d):  # (B, 34) coordinate-major → depths (B, 17), angles (B,)
    shared = residual(state, "res_common", linear(state, "upscale", p2d))
    depth = residual(state, "res_pose2", residual(state, "res_pose1", shared))
    angle = residual(state, "res_angle2", residual(state, "res_angle1", shared))
    return linear(state, "depth", depth), linear(state, "angles", angle)[:, 0]


def plain_pose(state, p2d):  # (B, 3, 17) root-relative
    depths, angles = plain_lifter(state, p2d)
    depths[:, 0] = 0
    w = (depths + 10).clamp(min=1)
    pose = torch.cat([p2d.unflatten(1, (2, 17)) * w[:, None], w[:, None]], 1)
    return pose - pose[:, :, :1], angles


def people_of_32(n=7):
    "2D poses of Human3.6M's 32 joints in pixels, about as large as the training data's."
    g = torch.Generator().manual_seed(5)
    return 500 + 30 * torch.randn(n, 32, 2, generator=g)


def theirs(joints):
    "(B, 34): the authors' seventeen, relative to the root, over 145.5 pixels and ten, coordinate-major."
    joints = joints[:, OF_32]
    return ((joints - joints[:, :1]) / UNIT / 10).mT.flatten(1)


def test_poses_and_elevations_are_those_of_the_plain_network(lifter, pca, saved, tmp_path):
    state, joints = lifter(), people_of_32()
    np.savez(tmp_path / "pca.npz", **pca)
    flow = saved(freia_flow(hidden=12, blocks=2).state_dict(), "flow.pt")
    model = convert_checkpoint(saved(state, "lifter.pt"), prior=flow, pca=tmp_path / "pca.npz")
    detections = Detections(joints[:, USUAL], torch.ones(7, 17), skeleton="h36m_17", map_size=1000)
    pose, angles = plain_pose(state, theirs(joints))
    back = [OF_32.index(joint) for joint in USUAL]
    pose = pose.mT[:, back]
    mine = model.mode(detections)
    parents = [0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]
    bones = (pose[:, 1:] - pose[:, parents]).norm(dim=-1).mean(1)
    assert torch.allclose(mine, pose * (0.26 / bones)[:, None, None], atol=1e-5), "in metres of a mean bone of 0.26"
    assert torch.allclose(model.elevations(detections), -angles * 180 / math.pi, atol=1e-3)
    scaled = model.features(type("Batch", (), {"detections": detections})())["x"]
    with torch.no_grad():
        depths = model.lifter.offsets(model.lifter.features(scaled))
    wanted = plain_lifter(state, theirs(joints))[0][:, back]
    assert torch.allclose(depths[:, 1:], wanted[:, 1:], atol=1e-5)


def test_latents_and_log_determinants_are_those_of_freia(lifter, pca, saved, tmp_path):
    flow, joints = freia_flow().eval(), people_of_32()
    np.savez(tmp_path / "pca.npz", **pca)
    path = saved(flow.state_dict(), "model_inn_h36m_17j.pt")
    model = convert_checkpoint(saved(lifter(24), "lifter.pt"), prior=path, pca=tmp_path / "pca.npz")
    with torch.no_grad():
        wide = theirs(joints).double() - torch.from_numpy(pca["mean"])
        latent = (wide @ torch.from_numpy(pca["components"][:26]).T).float()
        z, log_det = flow(latent)
        scaled = ((joints - joints[:, :1])[:, USUAL] / UNIT / 10).float()
        mine = model.prior.coordinates(scaled)
        assert torch.allclose(mine, latent, atol=1e-5)
        own_z, own_log_det = model.prior.flow(mine)
        assert torch.allclose(own_z, z, atol=1e-5) and torch.allclose(own_log_det, log_det, atol=1e-5)
        assert torch.allclose(model.prior.nll(scaled), 0.5 * z.square().sum(1) - log_det, atol=1e-4)
    assert abs(float(model.prior.subspace.explained) - pca["explained_variance_ratio"][:26].sum()) < 1e-6
    assert model.config.bases == 26 and model.config.prior_layers == 1


@pytest.mark.parametrize("prefix", ["inn_2d.", "inn_2d_1."])
def test_a_lightning_checkpoint_holds_both(prefix, lifter, files, saved):
    both = {f"depth_estimator.{key}": value for key, value in lifter(24).items()}
    both |= {prefix + key: value for key, value in freia_flow(hidden=12, blocks=2).state_dict().items()}
    one = convert_checkpoint(saved({"state_dict": both, "epoch": 100}, "last.ckpt"), pca=files[2])
    two = convert_checkpoint(files[0], prior=files[1], pca=files[2])
    assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))
    with pytest.raises(CheckpointError, match="got the flow too"):
        convert_checkpoint(files[0].with_name("last.ckpt"), prior=files[1], pca=files[2])


def test_a_converted_model_answers_and_has_a_density(files):
    model = convert_checkpoint(files[0], prior=files[1], pca=files[2], upright=(0.1, 0.05))
    detections = Detections(people_of_32()[:, USUAL], torch.ones(7, 17), skeleton="h36m_17", map_size=1000)
    poses, density = model.sample_and_log_prob(detections, 2)
    assert poses.shape == (2, 7, 17, 3) and density.isfinite().all()
    assert float(model.upright_mean) == pytest.approx(0.1)
    assert type(model).from_pretrained(model.save_pretrained(files[0].parent / "out")).config == model.config


def test_parts_that_are_missing_are_asked_for(files):
    for words, path, options in (
        ("no flow", files[0], dict(pca=files[2])),
        ("no lifter", files[1], dict(pca=files[2])),
        ("principal components", files[0], dict(prior=files[1])),
        ("none.pt", files[0], dict(prior=files[0].with_name("none.pt"), pca=files[2])),
    ):
        with pytest.raises(CheckpointError, match=words):
            convert_checkpoint(path, "elepose", **options)
    with pytest.raises(ConfigError, match="unitt"):
        convert_checkpoint(files[0], prior=files[1], pca=files[2], unitt=100)


def test_everything_that_does_not_fit_is_listed(lifter, files, saved):
    state = {key: value for key, value in lifter(24).items() if key not in ("angles.bias", "res_pose2.l1.weight")}
    state |= {"res_pose3.l1.weight": torch.ones(24, 24), "depth.weight": torch.ones(16, 24)}
    with pytest.raises(CheckpointError) as error:
        convert_checkpoint(saved(state, "lifter.pt"), prior=files[1], pca=files[2])
    for words in ("angles.bias", "res_pose2.l1.weight", "res_pose3.l1.weight", "depth.weight (16, 24)", "right arm"):
        assert words in str(error.value), words
    flow = freia_flow(hidden=12, blocks=2).state_dict()
    flow["module_list.0.act_norm"] = flow.pop("module_list.1.subnet.2.weight")
    with pytest.raises(CheckpointError) as error:
        convert_checkpoint(saved(lifter(24), "lifter.pt"), prior=saved(flow, "flow.pt"), pca=files[2])
    assert "module_list.1.subnet.2.weight" in str(error.value) and "module_list.0.act_norm" in str(error.value)
    assert "flow.pt" in str(error.value)


def test_weights_that_ours_would_misread_are_refused(lifter, files, saved):
    ran = lifter(24) | {"res_angle1.bn2.num_batches_tracked": torch.tensor(5)}
    with pytest.raises(CheckpointError, match="res_angle1.bn2.num_batches_tracked"):
        convert_checkpoint(saved(ran, "lifter.pt"), prior=files[1], pca=files[2])
    flow = freia_flow(hidden=12, blocks=2).state_dict()
    for name in ("module_list.1.w_perm", "module_list.1.w_perm_inv"):
        with pytest.raises(CheckpointError, match="module_list.1.w_perm"):
            bent = flow | {name: 1.1 * flow[name]}
            convert_checkpoint(saved(lifter(24), "lifter.pt"), prior=saved(bent, "flow.pt"), pca=files[2])


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(mean=np.zeros(32)), "mean of shape"),
        (dict(components=np.eye(34)[:20]), "26 or more"),
        (dict(components=np.eye(34)), "the root does not move"),
        (dict(mean=np.ones(34)), "the root does not move"),
        (dict(explained_variance_ratio=np.full(34, np.nan)), "explained_variance_ratio"),
        (dict(mean=None), "mean"),
        (dict(mean=np.array([{}], dtype=object)), "pca.npz"),
    ],
)
def test_components_that_cannot_be_are_refused(change, words, pca, files):
    arrays = {name: value for name, value in (pca | change).items() if value is not None}
    np.savez(files[2], **arrays)
    with pytest.raises(CheckpointError, match=words):
        convert_official(files[0], prior=files[1], pca=files[2])
    with pytest.raises(CheckpointError, match="pca.npz"):
        convert_official(files[0], prior=files[1], pca=files[2])


def test_a_pickle_in_the_place_of_components_is_not_run(files, monkeypatch):
    import pickle

    class Calls:
        def __reduce__(self):
            return exec, ("import os; os.environ['PROBPOSE_MARK'] = '1'",)

    monkeypatch.delenv("PROBPOSE_MARK", raising=False)
    files[2].write_bytes(pickle.dumps(Calls()))
    with pytest.raises(CheckpointError, match="pca.npz"):
        convert_checkpoint(files[0], prior=files[1], pca=files[2])
    import os

    assert "PROBPOSE_MARK" not in os.environ


@pytest.mark.parametrize("key", ["upscale.weight", "res_pose1.l1.weight", "angles.bias"])
def test_one_wrong_tensor_is_named_alone(key, lifter, files, saved):
    "Sizes are those that most tensors agree on."
    state = lifter(24)
    state[key] = torch.ones([n + 1 for n in state[key].shape])
    with pytest.raises(CheckpointError, match=rf"other shapes \(1\): {key}"):
        convert_checkpoint(saved(state, "lifter.pt"), prior=files[1], pca=files[2])
