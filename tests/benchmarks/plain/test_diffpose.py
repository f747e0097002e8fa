"DiffPose written plainly draws the hypotheses and takes the steps of the library."

import copy

import pytest
import torch

from probpose.benchmarks.plain.diffpose import PlainDiffPose, plain_channels
from probpose.benchmarks.plain.training import PlainTraining, losses_gap
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError
from probpose.models.diffpose.condition import soft_histogram
from probpose.training.run import Run, iterate
from probpose.training.specs import TrainingConfig


@pytest.mark.parametrize("channels", [2, 5, 16])
def test_channels_at_all_centres_add_up_to_the_histogram(channels):
    positions = torch.cat(
        [4 * torch.rand(2, 30, 3, 2, generator=make_generator(0)) - 2, torch.tensor([-1.0, 1.0]).expand(2, 1, 3, 2)], 1
    )
    weights = torch.rand(2, 31, 3, generator=make_generator(1))
    summed = plain_channels(positions, weights, channels).sum(1)
    assert torch.allclose(summed, soft_histogram(positions, weights, channels), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"likelihood": False}, {"prediction": "x0"}, {"positions": "map"}, {"sampler": "ddim", "sampling_steps": 3}],
)
def test_plain_and_fast_diffusion_draw_the_same(small_diffusion, frames, changes):
    model, source = small_diffusion(**changes).eval(), make_generator(2)
    with torch.inference_mode():
        points = model.points(frames[:3].detections, model.config.samples - 1, source)
        noise = torch.randn(7, 3, 48, generator=source)
        condition = model.condition(points)
        fast = model._denoised(noise, model.denoiser.projected(condition), model.config.sampler, make_generator(3))
        for tile, again in ((1, False), (5, True), (64, False)):
            plain = PlainDiffPose(model, tile)
            assert torch.allclose(plain.repeated(points, 7), condition.expand(7, -1, -1), atol=1e-5)
            assert torch.allclose(plain.sample(points, noise, make_generator(3), again), fast, atol=1e-4)


def test_the_first_layer_may_be_split_between_image_and_hypothesis(small_diffusion, frames):
    denoiser = small_diffusion().denoiser
    x, condition = torch.randn(4, 3, 48, generator=make_generator(0)), torch.randn(3, 24, generator=make_generator(1))
    for t in (1, 6):
        joined = denoiser.first(torch.cat([x, torch.full((4, 3, 1), float(t)), condition.expand(4, -1, -1)], -1))
        shared = (
            torch.nn.functional.linear(x, denoiser.first.weight[:, :48])
            + denoiser.projected(condition)
            + t * denoiser.first.weight[:, 48]
        )
        assert torch.allclose(joined, shared, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"draws": 3, "prediction": "x0"}, {"joint_dropout": 0.5}, {"joint_dropout": 0.0, "likelihood": False}],
)
def test_plain_diffusion_training_takes_the_same_steps(small_diffusion, frames, changes):
    model = small_diffusion(**changes)
    prepared = model.prepare(frames)
    assert losses_gap(PlainDiffPose(model), model, prepared.batch(torch.arange(16)), floor=1e-6) < 1e-5
    plain = PlainTraining(PlainDiffPose(model), prepared, batch_size=16, seed=3)
    config = TrainingConfig(iterations=10**6, batch_size=16, seed=3, progress=False)
    fast = Run(copy.deepcopy(model), prepared, config, torch.device("cpu"))
    for _ in range(2):
        plain.iterate()
        iterate(fast)
    assert torch.equal(plain.noise.get_state(), fast.noise.get_state()) and plain.order.drawn == fast.order.drawn
    for mine, other, start in zip(fast.model.parameters(), plain.model.parameters(), model.parameters()):
        assert not torch.equal(mine, start) and (mine - other).abs().mean() < 0.1 * model.config.lr


@pytest.mark.parametrize(
    "changes", [{"condition": "argmax"}, {"cross_spatial": False}, {"transformer": False}, {"include_argmax": False}]
)
def test_another_embedding_is_refused(small_diffusion, changes):
    with pytest.raises(ConfigError, match="embedding"):
        PlainDiffPose(small_diffusion(**changes))
