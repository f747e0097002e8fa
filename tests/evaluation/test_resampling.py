"Bands: against drawing by name, by theory, and what is drawn."

import numpy as np
import pytest

from probpose.core.errors import ConfigError, ShapeError
from probpose.evaluation.resampling import Resampling, choose_units, middle_band


def test_bands_are_as_wide_as_theory_says():
    values = np.random.default_rng(0).normal(size=900)
    _, low, high = Resampling(np.arange(900), 2000).interval(values)
    assert np.isclose(high - low, 2 * 1.96 * values.std() / 30, rtol=0.08)
    people = np.repeat(np.random.default_rng(1).normal(size=30), 30)
    _, low, high = Resampling(np.repeat(np.arange(30), 30), 2000).interval(people)
    assert np.isclose(high - low, 2 * 1.96 * people.std() / 30**0.5, rtol=0.12)


def test_units_of_unequal_size_weigh_by_their_frames():
    units = np.array([0] * 9 + [1])
    means = Resampling(units, 300).means(np.array([0.0] * 9 + [1.0]))
    assert set(np.round(np.unique(means), 6)) == {0.0, 0.1, 1.0}


def test_frames_that_were_not_measured_do_not_count():
    units, values = np.repeat(np.arange(6), 5), np.random.default_rng(2).normal(size=(30, 2, 3))
    holes = values.copy()
    holes[::4, 1] = np.nan
    means = Resampling(units, 50).means(holes)
    assert means.shape == (50, 2, 3) and np.allclose(means[:, 0], Resampling(units, 50).means(values)[:, 0])
    middle, low, high = Resampling(units, 50).interval(holes)
    assert np.allclose(middle, np.nanmean(holes, 0)) and (low <= high).all()
    assert np.isnan(middle_band(np.full((9, 2), np.nan))).all()


def test_the_same_seed_gives_the_same_draws():
    values = np.random.default_rng(3).normal(size=40)
    first, again, other = (Resampling(np.arange(40), 70, seed).means(values) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("draws", [0, 19, 1.5, True])
def test_too_few_draws(draws):
    with pytest.raises(ConfigError, match="draws"):
        Resampling(np.arange(4), draws)


def test_values_of_other_frames():
    with pytest.raises(ShapeError, match="4 frames"):
        Resampling(np.arange(4)).means(np.zeros(5))


def test_the_largest_units_that_are_enough():
    frames = 120
    subject, take = np.arange(frames) % 2, np.arange(frames) // 20
    action = np.array(["walk", "sit", "run"])[np.arange(frames) % 3]
    keys, what, caution = choose_units({"subject": subject, "sequence": take, "action": action}, frames)
    assert what == "12 takes of a person" and "2 people" in caution
    wanted = np.unique(list(zip(subject, take)), axis=0, return_inverse=True)[1].ravel()
    assert len(set(zip(keys, wanted))) == 12
    assert choose_units({"subject": subject, "action": action}, frames)[1] == "6 actions of a person"
    keys, what, caution = choose_units({"subject": subject}, frames)
    assert what == "120 frames" and "2 people" in caution and "wider" in caution and len(set(keys)) == frames
    assert choose_units({"subject": np.arange(frames) % 40}, frames)[1:] == ("40 people", "")
