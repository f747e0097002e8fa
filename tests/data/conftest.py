"Data that several test files look at."

import pytest

from probpose.bodies.body import load_body
from probpose.data import load
from probpose.data.synthetic import synthetic_frames


@pytest.fixture(scope="session")
def train():
    "Six hundred synthetic people, photographed."
    return load("synthetic", size=600)


@pytest.fixture(scope="session")
def poses():
    "World poses of 64 synthetic people."
    return synthetic_frames("test", size=64).poses


@pytest.fixture(scope="session")
def body():
    "The open body."
    pytest.importorskip("smplx")
    return load_body()
