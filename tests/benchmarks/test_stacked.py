"Stacked seeds take the steps of single ones."

import copy

import pytest
import torch

from probpose.benchmarks.stacked import StackedDiffPose, StackedTraining, clip_each, stacking_gap
from probpose.core.errors import ConfigError
from probpose.training.run import Run, iterate
from probpose.training.specs import TrainingConfig


@pytest.mark.parametrize(
    "changes", [{"joint_dropout": 0.3}, {"draws": 3, "prediction": "x0"}, {"likelihood": False, "joint_dropout": 0.0}]
)
def test_stacked_seeds_have_their_own_gradients(small_diffusion, frames, changes):
    models = [small_diffusion(seed=seed, **changes) for seed in range(3)]
    prepared = models[0].prepare(frames)
    assert stacking_gap(models, [prepared.batch(torch.arange(8) + 8 * i) for i in range(3)]) < 1e-3
    assert all(p.grad is None for model in models for p in model.parameters())


def test_stacked_seeds_take_the_steps_of_single_ones(small_diffusion, frames):
    models = [small_diffusion(seed=seed, draws=2) for seed in range(2)]
    prepared = models[0].prepare(frames)
    stacked = StackedTraining(models, prepared, batch_size=16)
    for seed, model in enumerate(models):
        run = Run(
            copy.deepcopy(model),
            prepared,
            TrainingConfig(iterations=10**6, batch_size=16, seed=seed, progress=False),
            torch.device("cpu"),
        )
        for _ in range(2):
            iterate(run)
            if seed == 0:
                stacked.iterate()
        for name, p in run.model.named_parameters():
            assert (stacked.stack.weights[name][seed] - p).abs().mean() < 0.1 * model.config.lr, name


def test_gradients_are_clipped_seed_by_seed():
    gradients = [torch.randn(3, 4, 5), torch.randn(3, 6)]
    gradients[0][1], gradients[1][1] = 1e-3 * gradients[0][1], 1e-3 * gradients[1][1]
    before = [g.clone() for g in gradients]
    clip_each(gradients, 0.5)
    for seed in range(3):
        alone = [torch.nn.Parameter(torch.zeros_like(g[seed])) for g in before]
        for p, g in zip(alone, before):
            p.grad = g[seed].clone()
        torch.nn.utils.clip_grad_norm_(alone, 0.5)
        assert all(torch.allclose(g[seed], p.grad) for g, p in zip(gradients, alone))


@pytest.mark.parametrize(
    "changes", [{"condition": "argmax"}, {"cross_spatial": False}, {"transformer": False}, {"include_argmax": False}]
)
def test_another_embedding_is_not_stacked(small_diffusion, changes):
    with pytest.raises(ConfigError, match="embedding"):
        StackedDiffPose([small_diffusion(**changes)])


def test_only_seeds_may_differ_in_a_stack(small_diffusion):
    with pytest.raises(ConfigError, match="same settings"):
        StackedDiffPose([small_diffusion(), small_diffusion(hidden=16)])
