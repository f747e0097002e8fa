"HuMR's released layout against FrEIA and plain versions of the rest: rotations, density, shape, camera, mesh points."

import math
import sys
import types

import pytest
import torch
from FrEIA.framework import ConditionNode, GraphINN, InputNode, Node, OutputNode
from FrEIA.modules import GLOWCouplingBlock, PermuteRandom
from torch import nn

from probpose.core.devices import seeded
from probpose.core.errors import CheckpointError
from probpose.models.convert import convert_checkpoint, convert_official
from probpose.models.humr.model import HuMR
from probpose.vision.detections import ImageDetections

FEATURES, POSE = 720, 256
CONDITION = FEATURES + POSE + 3


def freia_flow(blocks=8, hidden=96, condition=CONDITION):
    "The authors' flow as FrEIA 0.2 builds it: two hidden layers with dropout, its own clamp, a seed for each block."

    def subnet(a, b):
        parts = [
            nn.Linear(a, hidden),
            nn.Dropout(0.0),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.Dropout(0.0),
            nn.ReLU(),
        ]
        return nn.Sequential(*parts, nn.Linear(hidden, b))

    seen, nodes = ConditionNode(condition), [InputNode(132)]
    with seeded(1):
        for k in range(blocks):
            options = {"subnet_constructor": subnet, "clamp": 2.0}
            nodes.append(Node(nodes[-1], GLOWCouplingBlock, options, conditions=seen))
            nodes.append(Node(nodes[-1], PermuteRandom, {"seed": k}))
        return GraphINN([*nodes, OutputNode(nodes[-1]), seen]).eval()


@pytest.fixture(scope="module")
def flow():
    return freia_flow()


@pytest.fixture(scope="module")
def state(flow, random_state, linear_shapes):
    "Flow, regressor and encoder of 2D poses, with body models and a backbone beside them."
    layers = {"head.fc1": (64, CONDITION + 14), "head.fc2": (64, 64), "head.decshape": (11, 64), "head.deccam": (3, 64)}
    layers |= {"joints_enc.0": (512, 51), "joints_enc.2": (POSE, 512)}
    network = random_state(linear_shapes(layers))
    network |= {"head.init_shape": 0.3 * torch.randn(1, 11), "head.init_cam": torch.tensor([[0.9, 0.02, -0.03]])}
    network |= {f"flow.{key}": value for key, value in flow.state_dict().items()}
    state = {f"model.{key}": value for key, value in network.items()}
    state |= {"model.smpl.smplx.v_template": torch.ones(7, 3), "smplx.shapedirs": torch.ones(7, 3, 11)}
    state |= {"smpl_neutral.J_regressor": torch.ones(24, 7), "J_regressor": torch.ones(17, 7)}
    return state | {"model.backbone.conv1.weight": torch.ones(64, 3, 3, 3)}


@pytest.fixture(scope="module")
def evidence():
    g = torch.Generator().manual_seed(5)
    keypoints, scores = 4 + 56 * torch.rand(4, 17, 2, generator=g), torch.rand(4, 17, generator=g)
    features = torch.rand(4, FEATURES, generator=g)
    box = torch.cat([0.2 * torch.randn(4, 2, generator=g), 0.3 + 0.2 * torch.rand(4, 1, generator=g)], 1)
    return ImageDetections(keypoints, scores, None, skeleton="coco_17", map_size=64, features=features, box=box)


def linear(state, name, x):
    return x @ state[f"model.{name}.weight"].T + state[f"model.{name}.bias"]


def plain_condition(state, evidence):
    "Image feature, 2D pose in crop coordinates with scores, box over focal length."
    places = (evidence.keypoints + 0.5) / 32 - 1
    pose = torch.cat([places, evidence.scores[..., None]], -1).flatten(1)
    encoded = linear(state, "joints_enc.2", linear(state, "joints_enc.0", pose).relu())
    return torch.cat([evidence.features, encoded, evidence.box], 1)


def plain_head(state, condition):
    "Shape and weak camera: three rounds, without any activation."
    shape = state["model.head.init_shape"].expand(len(condition), -1)
    camera = state["model.head.init_cam"].expand(len(condition), -1)
    for _ in range(3):
        hidden = linear(state, "head.fc2", linear(state, "head.fc1", torch.cat([condition, shape, camera], 1)))
        shape, camera = shape + linear(state, "head.decshape", hidden), camera + linear(state, "head.deccam", hidden)
    return shape, camera


def rows_to_rotations(six):
    "Gram–Schmidt of two rows (PyTorch3D's six numbers)."
    first, second = six[..., :3], six[..., 3:]
    b1 = first / first.norm(dim=-1, keepdim=True)
    b2 = second - (b1 * second).sum(-1, keepdim=True) * b1
    b2 = b2 / b2.norm(dim=-1, keepdim=True)
    return torch.stack([b1, b2, torch.linalg.cross(b1, b2)], -2)


def plain_hypotheses(state, flow, z, condition):
    "Rotations (n, B, 22, 3, 3) and log-densities (n, B) of latents, one row of the flow for each."
    n, people = z.shape[:2]
    with torch.no_grad():
        vectors, log_det = flow(z.flatten(0, 1), [condition.repeat(n, 1)], rev=True)
    rotations = rows_to_rotations(vectors.unflatten(1, (22, 6))).unflatten(0, (n, people))
    nll = 0.5 * z.square().sum(-1) + log_det.view(n, people)  # the authors' loss, times 132
    return rotations, -nll - 66 * math.log(2 * math.pi)


@pytest.fixture
def path(state, saved):
    return saved({"epoch": 29, "state_dict": state, "callbacks": {}}, "humr_best.ckpt")


def test_bodies_are_those_of_the_plain_network(state, flow, evidence, path):
    model = convert_checkpoint(path)
    answer = model.hypotheses(evidence, 4, torch.Generator().manual_seed(6))
    z = torch.randn(4, 4, 132, generator=torch.Generator().manual_seed(6))
    z[0] = 0
    condition = plain_condition(state, evidence)
    rotations, density = plain_hypotheses(state, flow, z, condition)
    shape, camera = plain_head(state, condition)
    assert torch.allclose(answer.rotations, rotations, atol=1e-5)
    assert torch.allclose(answer.log_prob, density, atol=1e-3, rtol=1e-5)
    assert torch.allclose(answer.betas, shape, atol=1e-5) and torch.allclose(answer.camera, camera, atol=1e-5)
    for name in ("coco_17", "h36m_17", "surface"):
        assert torch.allclose(answer.points(name), model.body.points(name, rotations, shape), atol=1e-5)
    points = model.body.points("h36m_17", rotations, shape)
    assert torch.allclose(model.mode(evidence), (points - points[..., :1, :])[0], atol=1e-5)


def test_the_latent_is_that_of_the_plain_network(state, flow, evidence, path):
    "From rotations to latents, and the density of rotations."
    model, condition = convert_checkpoint(path), plain_condition(state, evidence)
    rotations = rows_to_rotations(torch.randn(4, 22, 6, generator=torch.Generator().manual_seed(8)))
    vectors = rotations[..., :2, :].flatten(-3)
    with torch.no_grad():
        z, log_det = flow(vectors, [condition])
        own_z, own_log_det = model.flow.flow.forward_fast(vectors, condition)
    assert torch.allclose(own_z, z, atol=1e-5, rtol=1e-5) and torch.allclose(own_log_det, log_det, atol=1e-5, rtol=1e-5)
    wanted = -0.5 * z.square().sum(1) - 66 * math.log(2 * math.pi) + log_det
    assert torch.allclose(model.rotation_log_prob(rotations, evidence), wanted, atol=1e-3, rtol=1e-5)


def test_the_surface_of_the_open_body_is_the_same(state, flow, evidence, path):
    pytest.importorskip("smplx")
    model, condition = convert_checkpoint(path), plain_condition(state, evidence)
    rotations, _ = plain_hypotheses(state, flow, torch.zeros(1, 4, 132), condition)
    shape, camera = plain_head(state, condition)
    answer = model.mode_hypothesis(evidence)
    assert torch.allclose(answer.vertices(), model.body.vertices(rotations, shape), atol=1e-5)
    focal, width, height = 1000.0, 1280, 720  # the authors' camera: full perspective from the weak one, in pixels
    centre = evidence.box[:, :2] * focal + torch.tensor([width / 2, height / 2])
    side, (s, x, y) = evidence.box[:, 2] * focal, camera.T
    place = torch.stack(
        [
            x + 2 * (centre[:, 0] - width / 2) / (s * side),
            y + 2 * (centre[:, 1] - height / 2) / (s * side),
            2 * focal / (s * side),
        ],
        1,
    )
    seen = model.body.points("coco_17", rotations, shape)[0] + place[:, None]
    pixels = focal * seen[..., :2] / seen[..., 2:] + torch.tensor([width / 2, height / 2])
    in_crop = 2 * (pixels - centre[:, None]) / side[:, None, None]
    assert torch.allclose(answer.project("coco_17")[0], in_crop, atol=1e-4)


@pytest.mark.parametrize("rename", ["", "module."])
def test_a_stripped_state_dict_is_read_too(rename, state, path, saved):
    "The authors' demonstration strips the prefix; both files give one model."
    bare = {rename + key.removeprefix("model."): value for key, value in state.items() if ".smpl." not in key}
    one, two = convert_checkpoint(path), convert_checkpoint(saved({"state_dict": bare}, "bare.ckpt"))
    assert one.config == two.config
    assert all(map(torch.equal, one.inference_state().values(), two.inference_state().values()))


def test_sizes_and_mean_parameters_come_from_the_file(state, path, tmp_path):
    done = convert_official(path)
    config = done.model.config
    assert (config.features, config.pose_features, config.hidden, config.hidden_layers) == (FEATURES, POSE, 96, 2)
    assert config.rotation_rows and not config.centred and not config.head_activation
    again = HuMR.from_pretrained(done.model.save_pretrained(tmp_path / "out", done.card()))
    assert torch.equal(again.head.start[-3:], state["model.head.init_cam"][0]) and again.config == config
    assert not any("smpl" in name or "backbone" in name for name in again.inference_state())


def test_what_is_left_out_is_named_with_its_reason(path):
    left_out = convert_official(path).left_out
    assert set(left_out) == {
        "model.backbone.conv1.weight",
        "model.smpl.smplx.v_template",
        "smplx.shapedirs",
        "smpl_neutral.J_regressor",
        "J_regressor",
        "model.head.init_shape",
        "model.head.init_cam",
    }
    assert "backbone" in left_out["model.backbone.conv1.weight"] and "licensed" in left_out["smplx.shapedirs"]


def test_everything_that_does_not_fit_is_listed(state, saved):
    gone = ("model.head.fc2.bias", "model.flow.module_list.6.subnet2.3.weight", "model.head.init_cam")
    wrong = {key: value for key, value in state.items() if key not in gone}
    wrong |= {"model.extra.weight": torch.ones(1), "model.head.decpose.bias": torch.ones(3)}
    wrong["model.joints_enc.0.weight"] = torch.ones(512, 34)
    with pytest.raises(CheckpointError) as error:
        convert_checkpoint(saved({"state_dict": wrong}, "humr.ckpt"))
    for words in (*gone, "model.extra.weight", "model.head.decpose.bias", "(512, 34), expected (512, 51)", "humr.ckpt"):
        assert words in str(error.value), words


def test_settings_of_lightning_are_passed_over(state, saved, monkeypatch):
    "Hyper-parameters are yacs nodes in the authors' checkpoints; ours needs no yacs to read them."
    module, class_ = types.ModuleType("yacs.config"), type("CfgNode", (dict,), {})
    class_.__module__, module.CfgNode = "yacs.config", class_
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
        patched.setitem(sys.modules, "yacs.config", module)
        path = saved({"state_dict": state, "hyper_parameters": {"MODEL": class_(BACKBONE="hrnet_w48-conv")}}, "h.ckpt")
    assert convert_checkpoint(path, "humr").config.features == FEATURES


@pytest.mark.parametrize("key", ["head.fc1.weight", "head.decshape.bias", "joints_enc.0.bias", "head.init_cam"])
def test_one_wrong_tensor_is_named_alone(key, state, saved):
    "Sizes are those that most tensors agree on."
    wrong = state | {f"model.{key}": torch.ones([n + 1 for n in state[f"model.{key}"].shape])}
    with pytest.raises(CheckpointError, match=rf"other shapes \(1\): model.{key}"):
        convert_checkpoint(saved({"state_dict": wrong}, "humr.ckpt"))
