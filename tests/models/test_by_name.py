"""Models by their names."""

import pytest

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.models import build


def test_unknown_settings_are_refused():
    with pytest.raises(ConfigError, match="wings"):
        build("poseflow", "smoke", wings=2)


def test_unknown_model_or_tier():
    with pytest.raises(UnknownNameError, match="poseflow"):
        build("posflow")
    with pytest.raises(UnknownNameError, match="laptop"):
        build("poseflow", "laptpo")
