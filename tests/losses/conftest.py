"""Fixtures of this room."""

import pytest

from probpose.core.devices import make_generator


@pytest.fixture
def g():
    return make_generator(0)
