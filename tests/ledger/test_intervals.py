"Intervals of gains."

import math

import numpy as np

from probpose.ledger.intervals import interval_of_mean, interval_of_one_seed


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    paired = [interval_of_mean(rng.normal(2.0, 1.0, 3)) for _ in range(2000)]
    assert 0.93 < np.mean([i.low < 2.0 < i.high for i in paired]) < 0.97
    hits = 0
    # both sides are trainings with spread 1, their frames add noise with spread 0.5; the left side was trained 5 times
    for _ in range(2000):
        left, right = rng.normal(0.0, math.hypot(1.0, 0.5), 5), rng.normal(0.0, math.hypot(1.0, 0.5))
        found = interval_of_one_seed(left[0] - right, (0.5, 0.5), [left.var(ddof=1)], [4])
        hits += found.low < 0.0 < found.high
    assert hits / 2000 > 0.93
