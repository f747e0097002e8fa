"""Settings of a training."""

import pytest

from probpose.core.errors import ConfigError
from probpose.models import build
from probpose.training.specs import TrainingConfig, training_config


@pytest.mark.parametrize(
    "bad",
    (
        dict(iterations=0),
        dict(iterations=1.5),
        dict(batch_size=0),
        dict(ema=1.0),
        dict(ema=-0.1),
        dict(log_every=0),
        dict(checkpoint_every=0),
        dict(ema_start=-1),
    ),
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        TrainingConfig(**bad)


@pytest.mark.parametrize("name", ["poseflow", "diffpose", "elepose", "humr", "mdn", "martinez"])
def test_a_models_settings_of_the_training_are_obeyed(name):
    settings = build(name, "smoke").config if name == "humr" else build(name).config
    config = training_config(settings, iterations=200, batch_size=48, seed=7, device="cpu", progress=False)
    assert (config.iterations, config.seed, config.device, config.progress) == (200, 7, "cpu", False)
    assert config.batch_size == getattr(settings, "batch_size", 48) and config.ema == getattr(settings, "ema", None)
    assert config.ema is None or (config.ema_every, config.ema_start) == (settings.ema_every, 20)
