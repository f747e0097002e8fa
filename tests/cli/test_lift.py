"`probpose lift`: what it writes, and files that it refuses."

import numpy as np


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


def test_wrong_joint_order_is_refused(run, keypoints, weights, tmp_path):
    done = run("lift", keypoints, "--model", weights, "--out", tmp_path / "x.npz")  # 17 joints as MPII-16
    assert done.exit_code == 2 and "16" in done.output and not (tmp_path / "x.npz").exists()


def test_visibility_flags_are_no_scores(run, weights, tmp_path):
    points = np.random.default_rng(0).uniform(100, 300, (1, 16, 2))
    np.savez(tmp_path / "flags.npz", keypoints=points, scores=np.full((1, 16), 2.0))
    done = run("lift", tmp_path / "flags.npz", "--model", weights, "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "visibility flags" in done.output and not (tmp_path / "x.npz").exists()
