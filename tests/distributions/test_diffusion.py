"""Schedules, the forward process and the samplers, against what can be computed by hand."""

import math

import pytest
import torch

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.distributions.diffusion import (
    SAMPLERS,
    Schedule,
    cosine_betas,
    data_and_noise,
    diffusion_loss,
    linear_betas,
    make_schedule,
    sample_ancestral,
    sample_ddim,
    sample_dpm,
    visited_steps,
)

MEAN, DEVIATION = 0.7, 0.3  # of the Gaussian whose exact denoiser is known


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def exact(schedule):
    def epsilon(x, t):
        left = float(schedule.alpha_bars[t])
        return math.sqrt(1 - left) * (x - math.sqrt(left) * MEAN) / (left * DEVIATION**2 + 1 - left)

    return epsilon


@pytest.mark.parametrize("steps", [1, 2, 10, 25, 1000])
@pytest.mark.parametrize("betas", [cosine_betas, linear_betas])
def test_schedules_are_schedules(betas, steps):
    schedule = Schedule(betas(steps))
    assert schedule.steps == steps and schedule.betas.dtype == torch.float64
    assert (
        (schedule.alpha_bars.diff() < 0).all()
        and schedule.alpha_bars[0] == 1
        and (steps < 10 or schedule.alpha_bars[-1] < 1e-3)
    )


def test_cosine_schedule_of_the_paper():
    left = Schedule(cosine_betas(25)).alpha_bars
    for t in (1, 7, 24):

        def f(t):
            return math.cos((t / 25 + 0.008) / 1.008 * math.pi / 2) ** 2

        assert left[t].item() == pytest.approx(f(t) / f(0), rel=1e-9)
    assert cosine_betas(25).max() == 0.999


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "25"])
def test_impossible_numbers_of_steps(steps):
    for call in (
        cosine_betas,
        linear_betas,
        lambda n: make_schedule("cosine", n),
        lambda n: visited_steps(make_schedule(), n),
    ):
        with pytest.raises(ConfigError, match="steps"):
            call(steps)


@pytest.mark.parametrize(
    "betas",
    [
        None,
        [0.1],
        torch.tensor([]),
        torch.tensor(0.1),
        torch.rand(2, 2),
        torch.tensor([0.0, 0.1]),
        torch.tensor([0.1, 1.0]),
        torch.tensor([0.2, -0.1]),
        torch.tensor([0.2, float("nan")]),
        torch.tensor([1, 2]),
    ],
)
def test_what_is_no_schedule(betas):
    with pytest.raises(ConfigError, match="betas"):
        Schedule(betas)


def test_unknown_names_and_predictions():
    with pytest.raises(UnknownNameError, match="cosine"):
        make_schedule("square")
    for sampler in SAMPLERS.values():
        with pytest.raises(UnknownNameError, match="epsilon"):
            sampler(lambda x, t: x, torch.zeros(1, 3), make_schedule(), prediction="velocity")
    with pytest.raises(UnknownNameError, match="epsilon"):
        diffusion_loss(lambda x, t: x, torch.zeros(1, 3), make_schedule(), "velocity")


def test_forward_process_equals_its_single_steps():
    schedule = make_schedule("cosine", 25)
    x = torch.full((200_000, 1), 2.0, dtype=torch.float64)
    for t, beta in enumerate(schedule.betas[:6], start=1):
        x = (1 - beta).sqrt() * x + beta.sqrt() * torch.randn(x.shape, generator=generator(t), dtype=torch.float64)
    left = schedule.alpha_bars[6]
    assert x.mean().item() == pytest.approx(2 * left.sqrt().item(), abs=0.01) and x.var().item() == pytest.approx(
        1 - left.item(), rel=0.02
    )


@pytest.mark.parametrize("clip", [None, 0.4])
def test_equation_4(clip):
    schedule, t = make_schedule("cosine", 25), 12
    left, after, beta = float(schedule.alpha_bars[t]), float(schedule.alpha_bars[t - 1]), float(schedule.betas[t - 1])
    x, epsilon = torch.randn(2, 4, 3, generator=generator(), dtype=torch.float64)
    seen = {}
    sample_ancestral(
        lambda x, s: epsilon,
        x,
        Schedule(schedule.betas[:t]),
        clip=clip,
        generator=generator(7),
        watch=lambda s, y: seen.setdefault(s, y),
    )
    if clip is not None:
        x0 = data_and_noise(epsilon, x, left, clip=clip)[0]
        assert x0.abs().max() == clip
        epsilon = (x - math.sqrt(left) * x0) / math.sqrt(1 - left)
    mean = (x - beta / math.sqrt(1 - left) * epsilon) / math.sqrt(1 - beta)
    noise = torch.randn(x.shape, generator=generator(7), dtype=torch.float64)
    assert torch.allclose(seen[t], mean + math.sqrt(beta * (1 - after) / (1 - left)) * noise)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_find_the_distribution_of_an_exact_denoiser(name):
    schedule = make_schedule("cosine", 400)
    noise = torch.randn(20_000, 1, generator=generator(), dtype=torch.float64)
    x = SAMPLERS[name](exact(schedule), noise, schedule, generator=generator(1))
    assert x.mean().item() == pytest.approx(MEAN, abs=0.01) and x.std().item() == pytest.approx(DEVIATION, rel=0.03)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 25, None])
def test_any_number_of_steps_ends_with_finite_data(name, steps):
    schedule, asked = make_schedule("cosine", 25), []
    x = SAMPLERS[name](
        lambda x, t: asked.append(t) or exact(schedule)(x, t),
        torch.randn(5, 2, generator=generator()),
        schedule,
        steps,
        generator=generator(),
        clip=2.0,
    )
    assert (
        x.isfinite().all()
        and x.dtype == torch.float32
        and len(asked) == (steps or 25)
        and all(1 <= t <= 25 for t in asked)
    )


def test_second_order_beats_first():
    schedule = make_schedule("cosine", 1000)
    z = torch.randn(100, 1, generator=generator(), dtype=torch.float64)
    wanted = sample_ddim(exact(schedule), z, schedule)
    for steps in (16, 32):
        errors = [
            (sampler(exact(schedule), z, schedule, steps) - wanted).abs().mean()
            for sampler in (sample_dpm, sample_ddim)
        ]
        assert errors[0] < 0.6 * errors[1], steps


def test_deterministic_samplers_survive_a_clumsy_noise_prediction_at_the_start():
    """At T an error of a hundredth in the predicted noise is one of metres in the data; the start must not pass it
    on.
    """
    schedule = make_schedule("cosine", 25)

    def clumsy(x, t):
        return exact(schedule)(x, t) + (0.05 if t == 25 else 0.0)

    z = torch.randn(50, 1, generator=generator(), dtype=torch.float64)
    for sampler in (sample_ddim, sample_dpm):
        assert (sampler(clumsy, z, schedule) - sampler(exact(schedule), z, schedule)).abs().max() < 1e-6


def test_loss_is_the_same_for_the_same_generator_and_repeats_draws():
    schedule, x0 = make_schedule(), torch.randn(6, 4, generator=generator())
    shapes = []

    def denoise(x, t):
        return shapes.append((tuple(x.shape), tuple(t.shape))) or 0.5 * x

    first, second = (diffusion_loss(denoise, x0, schedule, draws=3, generator=generator(3)) for _ in range(2))
    assert first == second and shapes == [((3, 6, 4), (3, 6))] * 2
    with pytest.raises(ConfigError, match="draws"):
        diffusion_loss(denoise, x0, schedule, draws=0)
