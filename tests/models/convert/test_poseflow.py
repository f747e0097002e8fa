"PoseFlow's released layout against a plain version of the paper's formulas: same latent, log-determinant and pose."

import math

import pytest
import torch

from probpose.core.errors import CheckpointError
from probpose.evidence.detections import Detections
from probpose.evidence.gaussians import Gaussians
from probpose.models.convert import convert_checkpoint, convert_official

CLAMPS = {
    "exact": lambda r: 4 / math.pi * torch.atan(r / 2),
    "rounded": lambda r: 2 * 0.636 * torch.atan(r / 2),
    "freia_0.2": lambda r: 2 * 0.636 * torch.atan(r),
}
USED = [0, 1, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15]  # of the sixteen detected joints: no pelvis, no hips


@pytest.fixture(scope="module")
def make_state(random_state, permutations, linear_shapes):
    "The released layout: 8 blocks, 1028 units, 78 → 256 → 56."

    def make(hidden=1028, blocks=8, nets=("subnet1", "subnet2"), seed=0):
        layers = {"cond_net.0": (256, 78), "cond_net.2": (56, 256)}
        for k in range(blocks):
            for net in nets:
                layers[f"inn.module_list.{2 * k}.{net}.0"] = (hidden, 24 + 56)
                layers[f"inn.module_list.{2 * k}.{net}.2"] = (48, hidden)
        return random_state(linear_shapes(layers), seed) | permutations("inn.", 48, blocks)

    return make


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def encode(state, raw):
    return linear(state, "cond_net.2", linear(state, "cond_net.0", raw).relu())


def coefficients(state, k, net, half, condition, clamp):
    name = f"inn.module_list.{2 * k}.{net}"
    out = linear(state, f"{name}.2", linear(state, f"{name}.0", torch.cat([half, condition], 1)).relu())
    return clamp(out[:, :24]), out[:, 24:]


def forward(state, x, condition, clamp, nets=("subnet1", "subnet2"), blocks=8):
    log_det = torch.zeros(len(x)).to(x)
    for k in range(blocks):
        left, right = x[:, :24], x[:, 24:]
        s, t = coefficients(state, k, nets[1], right, condition, clamp)
        left, log_det = left * s.exp() + t, log_det + s.sum(1)
        s, t = coefficients(state, k, nets[0], left, condition, clamp)
        right, log_det = right * s.exp() + t, log_det + s.sum(1)
        x = torch.cat([left, right], 1)[:, state[f"inn.module_list.{2 * k + 1}.perm"]]
    return x, log_det


def inverse(state, z, condition, clamp, nets=("subnet1", "subnet2"), blocks=8):
    for k in reversed(range(blocks)):
        z = z[:, state[f"inn.module_list.{2 * k + 1}.perm_inv"]]
        left, right = z[:, :24], z[:, 24:]
        s, t = coefficients(state, k, nets[0], left, condition, clamp)
        right = (right - t) * (-s).exp()
        s, t = coefficients(state, k, nets[1], right, condition, clamp)
        left = (left - t) * (-s).exp()
        z = torch.cat([left, right], 1)
    return z


def doubled(state):
    return {key: value.double() if value.is_floating_point() else value for key, value in state.items()}


@pytest.mark.parametrize("clamp", CLAMPS)
def test_latent_and_log_determinant_are_those_of_the_plain_network(clamp, make_state, saved):
    state = make_state()
    model = convert_checkpoint(saved({"net": state}), clamp=clamp)
    g = torch.Generator().manual_seed(3)
    x, raw = torch.randn(9, 48, generator=g), torch.randn(9, 78, generator=g)
    with torch.no_grad():
        z, log_det = model.flow.forward_fast(x, model.encode(of_picture(raw)))
    wanted, wanted_log_det = forward(state, x, encode(state, raw), CLAMPS[clamp])
    assert torch.allclose(z, wanted, atol=1e-5, rtol=1e-5)
    assert torch.allclose(log_det, wanted_log_det, atol=1e-5, rtol=1e-5)
    other = {"exact": "freia_0.2", "rounded": "exact", "freia_0.2": "rounded"}[clamp]
    apart = forward(state, x, encode(state, raw), CLAMPS[other])[1]
    assert (apart - wanted_log_det).abs().max() > 1e-3, "the forms of the clamp can be told apart"


def random_evidence(g, people=6):
    "Key points, and fits (amplitude, μx, μy, σx, θ, σy), some beyond every bound of the preprocessing."
    keypoints = 8 + 48 * torch.rand(people, 16, 2, generator=g)
    amplitude = -0.1 + 1.6 * torch.rand(people, 16, generator=g)
    means = keypoints + 3 * torch.randn(people, 16, 2, generator=g)
    means[0, 3], means[1, 9] = torch.tensor([-4.0, 70.0]), torch.tensor([66.0, 12.0])
    sigma = 0.1 + 12 * torch.rand(people, 16, 2, generator=g)
    return keypoints, amplitude, means, sigma, 3 * torch.rand(people, 16, generator=g)


def turned(sigma, theta):
    turn = torch.stack([theta.cos(), -theta.sin(), theta.sin(), theta.cos()], -1).unflatten(-1, (2, 2))
    return turn @ torch.diag_embed(sigma**2) @ turn.mT


def normalised(xy):
    "Coordinate-major (B, 32): each axis centred, y up, divided by the deviation of all 32 numbers."
    centred = xy - xy.mean(1, keepdim=True)
    flat = torch.cat([centred[..., 0], -centred[..., 1]], 1)
    return flat / flat.std(1, correction=0, keepdim=True)


def of_picture(raw):
    "Their condition with the covariances of the picture, whose y points down."
    sign = torch.tensor([1.0, 1, 1, 1, -1, 1]).repeat(13)
    return raw * sign


def raw_condition(amplitude, means, sigma, theta):
    "13 × (amplitude, mean, covariance) as the authors preprocess the fits, σ_gt = 2 px."
    means = normalised(means.clamp(0, 63)).unflatten(1, (2, 16)).mT
    sigma = sigma.clamp(0.2, 10)
    sigma = torch.where(sigma > 2.1, 2 * sigma, sigma) / 20
    cov = turned(sigma, theta)
    rows = torch.cat([amplitude.clamp(0, 1.2)[..., None], means, cov[..., 0, :], cov[..., 1, 1:]], -1)
    return rows[:, USED].flatten(1)


def as_pose(vectors):
    "(B, 17, 3) metres in camera axes: the root between the hips (joints 0 and 3 of the 16), which becomes the origin."
    joints = vectors.unflatten(1, (3, 16)).mT * torch.tensor([1.0, -1.0, -1.0])
    joints = torch.cat([(joints[:, :1] + joints[:, 3:4]) / 2, joints], 1)
    return joints - joints[:, :1]


def test_the_angle_that_their_function_fits_turns_towards_y_up():
    "Their bell of two pixels by five, at an angle of 0.5, is long where x grows and y, which points down, shrinks."
    theta, wide, high = torch.tensor(0.5), 5.0, 2.0
    a = theta.cos() ** 2 / (2 * wide**2) + theta.sin() ** 2 / (2 * high**2)
    b = (2 * theta).sin() * (1 / high**2 - 1 / wide**2) / 4
    c = theta.sin() ** 2 / (2 * wide**2) + theta.cos() ** 2 / (2 * high**2)
    fitted = torch.linalg.inv(2 * torch.stack([a, b, b, c]).view(2, 2))
    assert torch.allclose(fitted, turned(torch.tensor([wide, high]), -theta), atol=1e-4) and fitted[0, 1] < 0


def test_poses_are_those_of_the_plain_pipeline_from_detections(make_state, saved):
    state, g = make_state(seed=2), torch.Generator().manual_seed(4)
    keypoints, amplitude, means, sigma, theta = random_evidence(g)
    bells = Gaussians(amplitude, means, turned(sigma, -theta), amplitude > -1, torch.zeros_like(amplitude))
    detections = Detections(keypoints, amplitude.clamp(0, 1), gaussians=bells)
    model = convert_checkpoint(saved({"net": state}))
    y, condition = normalised(keypoints), encode(state, raw_condition(amplitude, means, sigma, theta))
    mine = model.evidence(detections)
    assert torch.allclose(mine[0], y, atol=1e-5) and torch.allclose(mine[1], condition, atol=1e-5)
    plain = inverse(doubled(state), torch.cat([torch.zeros(6, 16), y], 1).double(), condition.double(), CLAMPS["exact"])
    assert torch.allclose(model.mode(detections), as_pose(plain.float()), atol=1e-5)
    z = torch.randn(5, 6, 16, generator=torch.Generator().manual_seed(5))
    hypotheses = model.sample(detections, 5, torch.Generator().manual_seed(5))
    for m in range(5):
        plain = inverse(state, torch.cat([z[m], y], 1), condition, CLAMPS["exact"])
        assert torch.allclose(hypotheses[m], as_pose(plain), atol=1e-5)


def test_names_of_the_first_freia_are_read_too(make_state, saved):
    "FrEIA of 2020 named the networks s1 and s2."
    nets = "s1", "s2"
    state = make_state(hidden=30, blocks=3, nets=nets)
    model = convert_checkpoint(saved({"net": state | {"inn.tmp_var_3": torch.zeros(1)}}))
    x, raw = torch.randn(4, 48), torch.randn(4, 78)
    with torch.no_grad():
        z, log_det = model.flow.forward_fast(x, model.encode(of_picture(raw)))
    wanted = forward(state, x, encode(state, raw), CLAMPS["exact"], nets, 3)
    assert torch.allclose(z, wanted[0], atol=1e-4) and torch.allclose(log_det, wanted[1], atol=1e-4)
    assert model.config.hidden == 30 and model.config.blocks == 3


def test_everything_that_does_not_fit_is_listed(make_state, saved):
    state = make_state(hidden=12, blocks=3)
    missing = ["cond_net.2.bias", "inn.module_list.2.subnet1.2.weight", "inn.module_list.5.perm_inv"]
    wrong = {key: value for key, value in state.items() if key not in missing}
    wrong |= {"critic.0.weight": torch.ones(3, 3), "inn.module_list.0.subnet1.1.weight": torch.ones(2)}
    wrong["inn.module_list.4.subnet2.0.bias"] = torch.ones(13)
    wrong["cond_net.0.bias"] = torch.ones(256, dtype=torch.long)
    with pytest.raises(CheckpointError) as error:
        convert_checkpoint(saved({"net": wrong}))
    said = str(error.value)
    assert "model.pt" in said and "α = 2" in said, "file and assumptions"
    for key in [*missing, "critic.0.weight", "inn.module_list.4.subnet2.0.bias (13,), expected (12,)"]:
        assert key in said, key
    assert "whole numbers in the place of weights (1): cond_net.0.bias" in said


def test_a_block_that_is_missing_in_the_middle_is_missed(make_state, saved):
    state = {k: v for k, v in make_state(hidden=12, blocks=3).items() if not k.startswith("inn.module_list.2.")}
    with pytest.raises(CheckpointError, match=r"lacks \(8\): inn.module_list.2.subnet1.0.bias"):
        convert_checkpoint(saved({"net": state}))


def test_a_permutation_that_is_none_is_refused(make_state, saved):
    state = make_state(hidden=12, blocks=2)
    for change in (torch.zeros(48).long(), torch.arange(48) + 1):
        broken = state | {"inn.module_list.3.perm": change}
        with pytest.raises(CheckpointError, match="inn.module_list.3.perm"):
            convert_checkpoint(saved({"net": broken}))
    with pytest.raises(CheckpointError, match="inn.module_list.1.perm"):
        convert_checkpoint(saved({"net": state | {"inn.module_list.1.perm_inv": torch.arange(48)}}))


def test_nothing_is_left_out(make_state, saved):
    done = convert_official(saved({"net": make_state(hidden=12, blocks=2)}))
    assert not done.left_out and done.model.config.doubled_target and done.model.config.own_frame


@pytest.mark.parametrize(
    "key", ["cond_net.0.weight", "cond_net.2.weight", "cond_net.2.bias", "inn.module_list.0.subnet1.0.weight"]
)
def test_one_wrong_tensor_is_named_alone(key, make_state, saved):
    "Sizes are those that most tensors agree on."
    state = make_state(hidden=12, blocks=3)
    state[key] = torch.ones([n + 1 for n in state[key].shape])
    with pytest.raises(CheckpointError, match=rf"other shapes \(1\): {key}"):
        convert_checkpoint(saved({"net": state}))
