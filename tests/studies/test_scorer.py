"The packaged scorer learns from whole takes and is chosen on others."

import numpy as np
import torch

from probpose.data import load
from probpose.studies.scorer import split_takes


def test_takes_are_held_out_whole_and_spread_evenly():
    frames = load("synthetic", split="train", size=600)
    learnt, held = split_takes(frames)
    takes = sorted(set(frames.clip))
    assert set(learnt.clip) | set(held.clip) == set(takes) and not set(learnt.clip) & set(held.clip)
    assert set(held.clip) == set(takes[3::8]) and len(held) == min(400, int(np.isin(frames.clip, takes[3::8]).sum()))
    again = split_takes(frames)[1]
    assert torch.equal(again.poses, held.poses)
