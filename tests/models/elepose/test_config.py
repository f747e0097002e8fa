"""ElePose: settings that cannot be, and those of the released code."""

import math

import pytest

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.models.elepose.config import ElePoseConfig, released_config
from probpose.models.elepose.model import ElePose


def test_released_layout():
    lifter = ElePose(released_config(ElePoseConfig(hidden=8, prior_hidden=8))).lifter
    assert len(lifter.shared) == 1 and len(lifter.depth) == len(lifter.elevation) == 3


@pytest.mark.parametrize(
    "changes, error",
    [
        (dict(elevation="guessed"), UnknownNameError),
        (dict(normalise="box"), UnknownNameError),
        (dict(depth=1.0), ConfigError),
        (dict(bone_length=0.0), ConfigError),
        (dict(proportions=(1.0,) * 15), ConfigError),
        (dict(proportions=(math.nan,) * 16), ConfigError),
        (dict(weight_bones=-1.0), ConfigError),
        (dict(rotations=0), ConfigError),
        (dict(views=0), ConfigError),
    ],
)
def test_settings_that_cannot_be(changes, error, small):
    with pytest.raises(error):
        ElePose(small(**changes))
