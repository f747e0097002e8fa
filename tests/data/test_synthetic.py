"Synthetic people: limits, hinges, smooth motion, splits."

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.data.activities import ACTIVITIES, activity_angles
from probpose.data.articulation import ANGLES, LIMITS, make_bones, pose_from_angles
from probpose.data.synthetic import synthetic_frames


def test_splits_share_nobody():
    people, others = set(synthetic_frames("train", size=1000).subject), set(synthetic_frames("test", size=1000).subject)
    assert len(people) == 10 and len(others) == 4 and not people & others


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_activities_stay_within_limits_and_move_smoothly(activity):
    angles, lift = activity_angles(activity, 8, 60, make_generator(3))
    low, high = (torch.tensor([LIMITS[name][i] for name in ANGLES]) for i in (0, 1))
    assert (
        ((angles >= low - 1e-4) & (angles <= high + 1e-4)).all() and (lift >= 0).all() and torch.isfinite(angles).all()
    )
    path = pose_from_angles(angles, make_bones())
    assert path.diff(dim=1).norm(dim=-1).max() < 0.6, "no joint jumps between frames"
    assert path.std(dim=1).norm(dim=-1).max() > 0.005, "somebody moves"


def test_knees_and_elbows_bend_one_way():
    angles = torch.cat([activity_angles(name, 6, 20, make_generator(4))[0] for name in ACTIVITIES])
    straight = angles.clone()
    hinges = [i for i, name in enumerate(ANGLES) if name.endswith(("knee", "elbow"))]
    straight[..., hinges] = 0
    bent, unbent = pose_from_angles(angles, make_bones()), pose_from_angles(straight, make_bones())
    for thigh, shank in (
        ((1, 2), 3),
        ((4, 5), 6),
    ):  # where a straight leg's shin would face is the direction "forwards" of its own frame
        turned = (
            pose_from_angles(straight.index_fill(-1, torch.tensor(hinges), 10.0), make_bones())[..., shank, :]
            - unbent[..., shank, :]
        )
        assert (((bent - unbent)[..., shank, :] * turned).sum(-1) > -1e-6).all()
