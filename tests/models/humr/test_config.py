"""HuMR: settings that cannot be."""

import pytest

from probpose.core.errors import ConfigError, UnknownNameError


@pytest.mark.parametrize(
    "changes",
    [
        dict(kind="glow"),
        dict(random_supervision="some"),
        dict(mask_targets="all"),
        dict(samples=2),
        dict(blocks=0),
        dict(weight_mmd=-1),
        dict(head_dropout=1.0),
        dict(unsure=(0.7, 0.2)),
        dict(mask_grid=100),
        dict(bandwidths=(0.1, 0.0)),
        dict(filter_distance=0),
        dict(use_features=False, use_pose2d=False, use_box=False),
    ],
)
def test_bad_settings(changes, humr):
    with pytest.raises((ConfigError, UnknownNameError)):
        humr(**changes)
