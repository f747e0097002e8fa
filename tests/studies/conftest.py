"A smoke run of PoseFlow that several files look at."

import pytest

from probpose.studies import open_study


@pytest.fixture(scope="session")
def poseflow_run(tmp_path_factory):
    options = dict(cache=tmp_path_factory.mktemp("studies"), device="cpu", progress=False)
    return open_study("poseflow", **options).runner.run(["mean_pose", "full", "no_critic"])
