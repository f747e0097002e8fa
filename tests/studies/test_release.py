"Weights that are released come from the study that makes them; their cards are tested in the notebook of releases."

import pytest

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.studies.release import release


def test_a_run_of_another_study_is_refused(poseflow_run, tmp_path):
    with pytest.raises(ConfigError, match="shipped"):
        release(poseflow_run, "poseflow", tmp_path / "weights")
    with pytest.raises(UnknownNameError):
        release(poseflow_run, "posenet", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
