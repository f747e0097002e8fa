"What the commands are tried with."

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from probpose.cli.app import app
from probpose.models import build


@pytest.fixture(scope="session")
def run():
    "Calls the application with words; gives its exit code and its output."
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def keypoints(tmp_path):
    xy = np.random.default_rng(0).uniform(100, 300, (2, 17, 2))
    (tmp_path / "people.json").write_text(json.dumps({"keypoints": xy.tolist(), "scores": np.ones((2, 17)).tolist()}))
    return tmp_path / "people.json"


@pytest.fixture
def weights(tmp_path):
    return build("poseflow", "smoke").save_pretrained(tmp_path / "weights")
