"`probpose lift`: what it writes, and files that it refuses."

import numpy as np
import pytest

from probpose.core.errors import DataFileError
from probpose.evidence.files import read_keypoint_file


def test_lift_writes_poses_mode_and_density(run, keypoints, weights, tmp_path):
    done = run(
        "lift",
        keypoints,
        "--model",
        weights,
        "--skeleton",
        "coco_17",
        "--n",
        4,
        "--out",
        tmp_path / "deep" / "poses.npz",
    )
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "deep" / "poses.npz") as file:
        assert (
            file["poses"].shape == (4, 2, 17, 3)
            and file["mode"].shape == (2, 17, 3)
            and file["log_prob"].shape == (4, 2)
        )


def test_lift_is_deterministic_given_the_seed(run, keypoints, weights, tmp_path):
    files = [tmp_path / f"{i}.npz" for i in range(3)]
    for file, seed in zip(files, (1, 1, 2)):
        run("lift", keypoints, "--model", weights, "--skeleton", "coco_17", "--n", 2, "--seed", seed, "--out", file)
    first, second, third = (np.load(file)["poses"] for file in files)
    assert (first == second).all() and not (first == third).all()


@pytest.mark.parametrize(
    "content", ["[1, 2", '{"points": []}', '{"keypoints": [1, 2]}', '{"keypoints": [[["a", "b"]]]}']
)
def test_damaged_keypoints_are_refused(content, tmp_path):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(DataFileError, match="keypoints"):
        read_keypoint_file(tmp_path / "bad.json")


def test_wrong_joint_order_is_refused(run, keypoints, weights, tmp_path):
    done = run("lift", keypoints, "--model", weights, "--out", tmp_path / "x.npz")  # 17 joints as MPII-16
    assert done.exit_code == 2 and "16" in done.output and not (tmp_path / "x.npz").exists()


def test_truncated_archives_and_foreign_scores_are_refused(tmp_path):
    np.savez(tmp_path / "whole.npz", keypoints=np.zeros((2, 16, 2)), scores=np.ones(5))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:100])
    (tmp_path / "empty.npz").touch()
    for name in ("whole", "cut", "empty"):
        with pytest.raises(DataFileError, match="keypoints"):
            read_keypoint_file(tmp_path / f"{name}.npz")


def test_people_of_a_table_keep_their_order(tmp_path):
    (tmp_path / "people.csv").write_text("person,joint,x,y,score\n" + "".join(f"{p},0,{p},0,1\n" for p in (2, 10, 9)))
    assert read_keypoint_file(tmp_path / "people.csv")[0][:, 0, 0].tolist() == [2, 10, 9]


def test_pickled_arrays_are_never_loaded(tmp_path, weights):
    np.savez(tmp_path / "evil.npz", keypoints=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataFileError):
        read_keypoint_file(tmp_path / "evil.npz")
