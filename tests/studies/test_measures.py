"What several studies measure."

from probpose.data import load
from probpose.studies.measures import project_to_map


def test_hypotheses_over_a_map_land_where_the_camera_sees_them():
    frames = load("synthetic", split="test", size=5)
    seen = project_to_map(frames, 2, frames.poses[[2, 2]])
    assert seen.shape == (2, 16, 2) and (seen[0] - frames.keypoints_true[2]).abs().max() < 1e-2
    behind = frames.poses[[2]] - 100.0
    assert project_to_map(frames, 2, behind).isfinite().all()
