"DiffPose's released layout against a plain version of network and chain: same condition, noise and poses."

import math

import pytest
import torch
from torch.nn import functional as F

from probpose.core.errors import CheckpointError
from probpose.evidence.detections import Detections
from probpose.models.convert import convert_checkpoint, convert_official

STEPS = 25


@pytest.fixture(scope="module")
def make_state(random_state, linear_shapes):
    "The released layout: 64 channels an axis, 4 layers of 4 heads and 512 units, 2048 → denoiser of 1024 units."

    def make(width=128, inner=512, features=2048, hidden=1024, layers=4, projected=True, steps=STEPS, seed=0):
        linear = {
            "denoise_fn.upscale": (hidden, 48 + 1 + features),
            "denoise_fn.pose": (48, hidden),
            "condition_emb.conf_out": (1, width),
            "condition_emb.pos_out": (features, 16 * width),
        }
        linear |= {f"denoise_fn.res_pose{i}.l{j}": (hidden, hidden) for i in (1, 2) for j in (1, 2)}
        linear |= {"condition_emb.pos_proj": (width, width)} if projected else {}
        shapes = {"condition_emb.joint_embedding.weight": (16, width)}
        for k in range(layers):
            name = f"condition_emb.transformer.layers.{k}"
            linear |= {f"{name}.self_attn.out_proj": (width, width), f"{name}.linear1": (inner, width)}
            linear |= {f"{name}.linear2": (width, inner)}
            shapes |= {f"{name}.self_attn.in_proj_weight": (3 * width, width)}
            shapes |= {f"{name}.self_attn.in_proj_bias": (3 * width,)}
            shapes |= {f"{name}.norm{i}.{part}": (width,) for i in (1, 2) for part in ("weight", "bias")}
        state = random_state(linear_shapes(linear) | shapes, seed)
        for i in (1, 2):
            for j in (1, 2):
                norm = {"weight": torch.ones(hidden), "bias": torch.zeros(hidden), "running_mean": torch.zeros(hidden)}
                norm |= {"running_var": torch.ones(hidden), "num_batches_tracked": torch.tensor(0)}
                state |= {f"denoise_fn.res_pose{i}.bn{j}.{part}": value for part, value in norm.items()}
        state["condition_emb.pos_encoder.centers"] = torch.linspace(-1, 1, width // 2)
        return state | {name: value.float() for name, value in tables(steps).items()}

    return make


def tables(steps):
    "The thirteen buffers of the cosine schedule (Nichol & Dhariwal 2021, s = 0.008)."
    t = torch.linspace(0, steps, steps + 1, dtype=torch.float64)
    bar = torch.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = (1 - bar[1:] / bar[:-1]).clamp(0, 0.999)
    alphas = (1 - betas).cumprod(0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])
    variance = betas * (1 - before) / (1 - alphas)
    return {
        "betas": betas,
        "alphas_cumprod": alphas,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": alphas.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alphas).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - alphas).log(),
        "sqrt_recip_alphas_cumprod": (1 / alphas).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / alphas - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - alphas),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - alphas),
        "p2_loss_weight": torch.ones(steps),
    }


def doubled(state):
    return {key: value.double() if value.is_floating_point() else value for key, value in state.items()}


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def channels(x, count):
    "cos²(πx/h) within h/2 of each centre, h = 8/K (DiffPose, Eq. 5)."
    apart, h = x[..., None] - torch.linspace(-1, 1, count).to(x), 8 / count
    return torch.where(apart.abs() < h / 2, torch.cos(math.pi * apart / h) ** 2, 0.0)


def attend(state, name, tokens, heads=4):
    "A layer of the transformer: attention and feed-forward network, each added, then normalised."
    width = tokens.shape[-1]
    qkv = tokens @ state[f"{name}.self_attn.in_proj_weight"].T + state[f"{name}.self_attn.in_proj_bias"]
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.split(width, -1))
    mixed = ((q @ k.mT / math.sqrt(width // heads)).softmax(-1) @ v).transpose(1, 2).flatten(2)
    tokens = tokens + linear(state, f"{name}.self_attn.out_proj", mixed)
    tokens = F.layer_norm(tokens, (width,), state[f"{name}.norm1.weight"], state[f"{name}.norm1.bias"])
    inner = linear(state, f"{name}.linear2", linear(state, f"{name}.linear1", tokens).relu())
    return F.layer_norm(tokens + inner, (width,), state[f"{name}.norm2.weight"], state[f"{name}.norm2.bias"])


def embed(state, pixels, values, layers=4, scaled=True):
    "Samples (B, n, 16, 2) in pixels of the 64×64 map and their values (B, n, 16) to the condition."
    count = state["condition_emb.pos_encoder.centers"].numel()
    places = (pixels - 32) / 32
    each = torch.cat([channels(places[..., 0], count), channels(places[..., 1], count)], -1)
    each = each * (values if scaled else torch.ones_like(values))[..., None]
    if "condition_emb.pos_proj.weight" in state:
        each = linear(state, "condition_emb.pos_proj", each)
    tokens = each.sum(1) + state["condition_emb.joint_embedding.weight"]
    for k in range(layers):
        tokens = attend(state, f"condition_emb.transformer.layers.{k}", tokens)
    return linear(state, "condition_emb.pos_out", tokens.flatten(1))


def noise_of(state, x, t, condition):
    "What the denoiser says at step t, counted from 0."
    hidden = linear(state, "denoise_fn.upscale", torch.cat([x, torch.full_like(x[:, :1], t), condition], 1))
    for block in ("res_pose1", "res_pose2"):
        inner = F.leaky_relu(linear(state, f"denoise_fn.{block}.l1", hidden), 0.01)
        hidden = hidden + F.leaky_relu(linear(state, f"denoise_fn.{block}.l2", inner), 0.01)
    return linear(state, "denoise_fn.pose", hidden)


def sample(state, noise, condition, generator):
    "The authors' chain from T − 1 to 0, clipped to 30 decimetres, in the order in which ours asks for noise."
    buffers, x = {k: v.double() for k, v in tables(STEPS).items()}, noise
    for t in reversed(range(STEPS)):
        said = noise_of(state, x, t, condition)
        x0 = buffers["sqrt_recip_alphas_cumprod"][t] * x - buffers["sqrt_recipm1_alphas_cumprod"][t] * said
        mean = buffers["posterior_mean_coef1"][t] * x0.clamp(-30, 30) + buffers["posterior_mean_coef2"][t] * x
        x = mean
        if t:
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = mean + (0.5 * buffers["posterior_log_variance_clipped"][t]).exp() * fresh
    return x / 10


def as_pose(vectors):
    joints = vectors.unflatten(-1, (3, 16)).mT * torch.tensor([1.0, -1.0, -1.0]).to(vectors)
    joints = torch.cat([(joints[..., :1, :] + joints[..., 3:4, :]) / 2, joints], -2)
    return joints - joints[..., :1, :]


@pytest.fixture(scope="module")
def maps():
    "Heatmaps whose values half precision holds: ours keeps values of samples in it."
    g = torch.Generator().manual_seed(7)
    return (torch.rand(3, 16, 64, 64, generator=g) ** 8 * 256).round() / 256


@pytest.fixture(scope="module")
def full(make_state):
    return make_state()


@pytest.mark.parametrize("projected, layers", [(True, 4), (False, 4), (True, 0)])
def test_the_condition_is_that_of_the_plain_network(projected, layers, make_state, maps, saved):
    state = make_state(projected=projected, layers=layers)
    model = convert_checkpoint(saved({"step": 7, "model": state, "ema": {}, "scaler": {}}))
    assert model.config.cross_spatial == projected and model.config.transformer == bool(layers)
    points = model.points(Detections.from_heatmaps(maps), 31, torch.Generator().manual_seed(1))
    pixels, values = points["pixels"].float(), points["values"].float()
    assert torch.equal(maps.amax((-1, -2)), values[:, 0]) and pixels.shape == (3, 32, 16, 2)
    with torch.no_grad():
        mine = model.condition(points)
    assert torch.allclose(mine, embed(state, pixels, values, layers), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("t", [0, 11, 24])
def test_the_noise_is_that_of_the_plain_network(t, full, saved):
    model = convert_checkpoint(saved({"step": 7, "model": full, "ema": {}, "scaler": {}})).double()
    g, state = torch.Generator().manual_seed(2), doubled(full)
    x, condition = torch.randn(5, 48, generator=g).double(), torch.randn(5, 2048, generator=g).double()
    with torch.no_grad():
        mine = model.denoiser(x, torch.full((5,), t + 1), condition)
        shared = model.denoiser.conditioned(x, t + 1, model.denoiser.projected(condition))
    wanted = noise_of(state, x, t, condition)
    assert torch.allclose(mine, wanted, atol=1e-5) and torch.allclose(shared, wanted, atol=1e-5)


def test_hypotheses_are_those_of_the_plain_chain(full, maps, saved):
    model = convert_checkpoint(saved({"step": 7, "model": full, "ema": {}, "scaler": {}}))
    assert model.config.redraw and model.config.samples == 32 and model.config.clip == 30
    state, detections, n = doubled(full), Detections.from_heatmaps(maps), 2
    poses = model.double().sample(detections, n, torch.Generator().manual_seed(3))
    g = torch.Generator().manual_seed(3)
    points = model.points(detections, n * 31, g)  # new samples for every hypothesis, as the authors draw them
    noise = torch.randn(n, 3, 48, generator=g).double()
    conditions = []
    for i in range(n):
        own = [t[:, [0, *range(1 + 31 * i, 32 + 31 * i)]].double() for t in (points["pixels"], points["values"])]
        conditions.append(embed(state, *own))
    plain = sample(state, noise.flatten(0, 1), torch.cat(conditions), g)
    assert torch.allclose(poses, as_pose(plain.unflatten(0, (n, 3))), atol=1e-5)


def test_the_running_average_is_read_on_request(make_state, saved):
    sizes = dict(width=16, inner=8, features=12, hidden=10, layers=1)
    trained, averaged = make_state(**sizes), make_state(**sizes, seed=5)
    ema = {f"online_model.{key}": value for key, value in trained.items()}
    ema |= {f"ema_model.{key}": value for key, value in averaged.items()}
    ema |= {"initted": torch.tensor([True]), "step": torch.tensor([700_000])}
    path = saved({"step": 700_000, "model": trained, "ema": ema, "scaler": {"scale": 1.0}}, "model-final.pt")
    for average, state in ((False, trained), (True, averaged)):
        model = convert_checkpoint(path, "diffpose", average=average)
        assert torch.equal(model.denoiser.last.weight, state["denoise_fn.pose.weight"])
        assert model.config.channels == 8 and model.config.feedforward == 8 and model.config.layers == 1


def test_what_no_tensor_tells_is_said_by_the_caller(make_state, saved):
    path = saved({"model": make_state(width=16, inner=8, features=12, hidden=10, layers=1), "ema": {}})
    model = convert_checkpoint(path, samples=16, include_argmax=False, heads=2)
    assert model.config.samples == 16 and not model.config.include_argmax and model.config.heads == 2


def test_a_file_is_complete_or_refused_with_all_that_differs(make_state, saved):
    state = make_state(width=16, inner=8, features=12, hidden=10, layers=2)
    done = convert_official(saved({"model": state, "ema": {}}))
    assert {key.rpartition(".")[0] for key in done.left_out} == {
        "",
        "condition_emb.conf_out",
        "condition_emb.pos_encoder",
        *(f"denoise_fn.res_pose{i}.bn{j}" for i in (1, 2) for j in (1, 2)),
    }
    wrong = {key: value for key, value in state.items() if "norm2" not in key and key != "denoise_fn.pose.bias"}
    wrong |= {"condition_emb.pos_encoder.0.weight": torch.ones(512, 2), "sampler.a": torch.ones(1)}
    wrong["condition_emb.pos_out.weight"] = torch.ones(12, 16)  # the embedding that sums over joints
    with pytest.raises(CheckpointError) as error:
        convert_checkpoint(saved({"model": wrong, "ema": {}}))
    for words in (
        "denoise_fn.pose.bias",
        "condition_emb.transformer.layers.0.norm2.weight",
        "condition_emb.transformer.layers.1.norm2.bias",
        "condition_emb.pos_encoder.0.weight",
        "sampler.a",
        "condition_emb.pos_out.weight (12, 16), expected (12, 256)",
        "decimetres",
    ):
        assert words in str(error.value), words


def test_weights_that_ours_would_misread_are_refused(make_state, saved):
    state = make_state(width=16, inner=8, features=12, hidden=10, layers=1)
    for change, words in (
        ({"denoise_fn.res_pose2.bn1.num_batches_tracked": torch.tensor(9)}, "res_pose2.bn1.num_batches_tracked"),
        ({"betas": torch.linspace(0.1, 0.2, STEPS)}, "betas of a cosine or linear schedule"),
        ({"condition_emb.pos_encoder.centers": torch.linspace(0, 1, 8)}, "centers"),
        ({"condition_emb.pos_encoder.centers": torch.linspace(-1, 1, 9)}, "centers"),
    ):
        with pytest.raises(CheckpointError, match=words):
            convert_checkpoint(saved({"model": state | change, "ema": {}}))


def test_the_linear_schedule_is_known_by_its_betas(make_state, saved):
    state = make_state(width=16, inner=8, features=12, hidden=10, layers=1)
    state["betas"] = torch.linspace(0.004, 0.8, STEPS)
    model = convert_checkpoint(saved({"model": state, "ema": {}}))
    assert model.config.schedule == "linear" and model.schedule.steps == STEPS


@pytest.mark.parametrize(
    "key",
    [
        "denoise_fn.upscale.weight",
        "condition_emb.pos_out.weight",
        "condition_emb.joint_embedding.weight",
        "condition_emb.transformer.layers.0.linear1.weight",
        "betas",
    ],
)
def test_one_wrong_tensor_is_named_alone(key, make_state, saved):
    "Sizes are those that most tensors agree on."
    state = make_state(width=16, inner=8, features=12, hidden=10, layers=2)
    state[key] = torch.ones([n + 1 for n in state[key].shape])
    with pytest.raises(CheckpointError, match=rf"other shapes \(1\): {key}"):
        convert_checkpoint(saved({"model": state, "ema": {}}))
