"Data sets by their names, and what cannot be loaded."

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, DataFileError, UnknownNameError
from probpose.data import load
from probpose.data.activities import ACTIVITIES
from probpose.data.frames import choose_evenly
from probpose.data.licensed import LICENSED
from probpose.data.synthetic import SPLITS


def test_same_arguments_same_data():
    state = torch.random.get_rng_state()
    first, cached, again = (load("synthetic", size=60, cache=cache) for cache in (True, True, False))
    assert torch.equal(torch.random.get_rng_state(), state), "global random numbers are left alone"
    assert (
        first.fingerprint == cached.fingerprint == again.fingerprint != load("synthetic", size=60, seed=1).fingerprint
    )


def test_sizes_are_even(train):
    counts = np.unique(train.action, return_counts=True)[1]
    assert len(counts) == len(ACTIVITIES) and counts.max() - counts.min() <= 2


def test_the_hard_split_is_the_hard_part_of_the_test_split(monkeypatch):
    monkeypatch.setitem(SPLITS, "test", (640, ("Kim", "Leo")))
    whole, hard, few = (
        load("synthetic", split="test"),
        load("synthetic", split="hard"),
        load("synthetic", split="hard", size=20),
    )
    assert len(whole) == 640 and torch.equal(hard.poses, whole.poses[whole.hard]) and hard.split == few.split == "hard"
    assert len(few) == 20 and few.hard.all() and torch.equal(few.poses, hard[choose_evenly(len(hard), 20)].poses)
    with pytest.raises(ConfigError, match="at most"):
        load("synthetic", split="hard", size=640)


@pytest.mark.parametrize("name", LICENSED)
def test_licensed_data_say_where_to_get_them(name, monkeypatch, tmp_path):
    monkeypatch.delenv(f"PROBPOSE_{name.upper()}", raising=False)
    with pytest.raises(DataFileError, match=f"licensed.*{LICENSED[name].site}.*PROBPOSE_{name.upper()}"):
        load(name, split=LICENSED[name].splits[-1])
    with pytest.raises(DataFileError, match=LICENSED[name].site):
        load(name, split=LICENSED[name].splits[-1], path=tmp_path)
    monkeypatch.setenv(f"PROBPOSE_{name.upper()}", str(tmp_path / "none"))
    with pytest.raises(DataFileError, match="none"):
        load(name, split=LICENSED[name].splits[-1])


@pytest.mark.parametrize(
    "arguments, error",
    [
        (dict(name="coco"), UnknownNameError),
        (dict(name="synthetic", split="dev"), UnknownNameError),
        (dict(name="synthetic", size=0), ConfigError),
        (dict(name="synthetic", size=30_000), ConfigError),
        (dict(name="synthetic", size=1.5), ConfigError),
        (dict(name="cmu", path="/no/such/folder"), DataFileError),
    ],
)
def test_what_cannot_be_loaded(arguments, error):
    with pytest.raises(error):
        load(**arguments)


def test_cmu_without_a_path_says_where_to_get_it(monkeypatch):
    monkeypatch.delenv("PROBPOSE_CMU", raising=False)
    with pytest.raises(DataFileError, match="mocap.cs.cmu.edu"):
        load("cmu")
