"Data that several test files look at."

import math

import numpy as np
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
    return load_body()


@pytest.fixture(scope="session")
def turn():
    def make(axis, degrees):
        "A rotation matrix, written out."
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return {
            "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
            "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
            "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
        }[axis]

    return make
