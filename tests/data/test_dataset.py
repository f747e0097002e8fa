"Data sets: contents, rows, determinism and the cache."

from dataclasses import replace

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import NotFiniteError, ShapeError
from probpose.data.cameras import CameraConfig
from probpose.data.dataset import make_dataset
from probpose.evidence.simulated import DetectorConfig
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import H36M_17, MPII_16


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_part_has_a_row_per_frame(train):
    assert (
        len(train) == 600
        and train.poses.shape == (600, 17, 3)
        and train.root.shape == (600, 3)
        and train.keypoints_true.shape == (600, 16, 2)
    )
    assert (
        len(train.detections) == 600
        and train.detections.keypoints.shape == (600, 16, 2)
        and train.detections.gaussians.covariance.shape == (600, 16, 2, 2)
    )
    assert (
        train.belief.weights.shape[:2] == (600, 16)
        and len(train.action) == len(train.subject) == len(train.clip) == 600
    )
    assert (
        train.detections.heatmaps is None
        and train.poses.dtype == torch.float32
        and train.detections.skeleton == "mpii_16"
    )
    assert "synthetic" in repr(train) and "600" in repr(train)


def test_axes_units_and_root(train):
    assert (train.poses[:, 0] == 0).all()
    assert 4.5 < train.root[:, 2].mean() < 6 and train.root[:, :2].abs().max() < 1.5, (
        "the camera stands about five metres away and looks at the person"
    )
    standing = torch.from_numpy(np.isin(train.action, ("stand", "walk", "wave")))
    assert (train.poses[standing][:, 10, 1] < train.poses[standing][:, 3, 1]).all(), (
        "y points down: heads have smaller y than feet"
    )
    height = train.poses[standing][:, 10, 1] - train.poses[standing][:, 3, 1]
    assert -2.1 < height.min() and height.max() < -1.0, "metres, a foot may be lifted"


def test_the_chain_from_pose_to_keypoint(train):
    image = train.camera.project(train.poses + train.root[:, None])
    assert torch.allclose(image, train.image_points())
    assert torch.allclose(train.crop.to_map(convert(image, H36M_17, MPII_16)), train.keypoints_true, atol=1e-3)


def test_a_person_who_faces_the_camera_has_their_left_on_the_right_of_the_image(train):
    across = train.poses[:, 4] - train.poses[:, 1]  # right hip to left hip
    up = train.poses[:, 8] - train.poses[:, 0]
    facing = torch.linalg.cross(across, up)[:, 2]  # the way the chest points; negative: towards the camera
    order = (
        train.keypoints_true[:, 3, 0] - train.keypoints_true[:, 2, 0]
    )  # left hip minus right hip in the map, MPII order
    sure = across[:, 0].abs() > 0.08
    assert sure.sum() > 100 and (order[sure].sign() == across[sure, 0].sign()).all()
    upright = sure & torch.from_numpy(np.isin(train.action, ("stand", "walk", "wave", "reach"))) & (facing < 0)
    assert upright.sum() > 20 and (order[upright] > 0).all()


def test_detections_are_near_where_joints_are_sure(train):
    sure = (train.detections.gaussians.sigma < 2.1).all(-1)
    error = (train.detections.keypoints - train.keypoints_true).norm(dim=-1)
    assert 0.4 < sure.float().mean() < 0.99 and error[sure].mean() < 1.2 < error[~sure].mean()


def test_beliefs_are_calibrated(train):
    "The truth is as likely under the belief as the belief's own samples: its rank among them is uniform."
    samples = train.belief.log_prob(train.belief.sample(50, make_generator(0)))
    truth = train.belief.log_prob(train.keypoints_true)
    rank = (samples < truth).float().mean(0)
    assert abs(rank.mean() - 0.5) < 0.015 and abs((rank < 0.1).float().mean() - 0.1) < 0.02
    wide = (train.detections.gaussians.sigma > 2.1).any(-1)
    assert wide.sum() > 300 and abs(rank[wide].mean() - 0.5) < 0.06


def test_hard_frames_are_the_wide_ones(train):
    wide = train.detections.gaussians.axes[0].amax((-1, -2)) > 5
    assert torch.equal(train.hard, wide) and 0.03 < wide.float().mean() < 0.3
    hard = train.hard_subset()
    assert (
        len(hard) == wide.sum()
        and hard.hard.all()
        and hard.split == "hard"
        and torch.equal(hard.poses, train.poses[wide])
    )


def test_maps_on_demand_show_the_fitted_bells(train):
    maps = train.heatmaps(torch.arange(20))
    assert maps.shape == (20, 16, 64, 64)
    peak = maps.flatten(-2).max(-1)
    assert torch.equal(
        torch.stack([peak.indices % 64, peak.indices // 64], -1).float(), train.detections.keypoints[:20]
    )
    assert torch.allclose(peak.values.clamp(0, 1), train.detections.scores[:20], atol=1e-4)


def test_rows_masks_and_batches(train):
    mask = train.action == "walk"
    part = train[mask]
    assert (
        len(part) == mask.sum()
        and set(part.action) == {"walk"}
        and torch.equal(part.camera.rotation, train.camera.rotation[torch.from_numpy(mask)])
    )
    assert (
        torch.equal(train[[7, 3]].root, train.root[[7, 3]])
        and len(train[-1]) == 1
        and len(train[::100]) == 6
        and len(train[[]]) == 0
    )
    assert torch.equal(part.detections.crop.size, part.crop.size), "the crop inside the detections follows"
    index = torch.tensor([5, 5, 0])
    batch = train.batch(index)
    assert (
        torch.equal(batch.poses, train.poses[index])
        and torch.equal(batch.detections.keypoints, train.detections.keypoints[index])
        and torch.equal(batch.keypoints_true, train.keypoints_true[index])
    )
    assert len(batch.detections) == 3 and torch.equal(train.to("cpu").poses, train.poses)


@pytest.mark.parametrize("index", [600, [0, 600], torch.zeros(3, dtype=torch.bool), "all", [0.5]])
def test_rows_that_are_not_there(train, index):
    with pytest.raises(ShapeError, match="index"):
        train[index]


def test_fingerprint_sees_everything(train):
    part = train[:20]
    action = part.action.copy()
    action[3] = "fly"
    covariance = part.detections.gaussians.covariance.clone()
    covariance[0, 0, 0, 0] += 1e-3
    gaussians = replace(part.detections.gaussians, covariance=covariance)
    for changed in (
        replace(part, action=action),
        replace(part, seed=1),
        replace(part, poses=part.poses + 1e-6),
        replace(part, detections=replace(part.detections, gaussians=gaussians)),
        part[:19],
    ):
        assert changed.fingerprint != part.fingerprint
    assert train[:20].fingerprint == part.fingerprint and len(part.fingerprint) == 64


def test_another_camera_and_detector(poses):
    high = make_dataset(
        poses,
        cameras=CameraConfig(elevation="high", map_size=32),
        detector=DetectorConfig(occluder_rate=0.0, self_occlusion_rate=0.0, truncation_rate=0.0),
        cache=False,
    )
    usual = make_dataset(poses, cache=False)

    def down(ds):
        return torch.asin(-(ds.camera.rotation @ torch.tensor([0.0, 1.0, 0.0]))[:, 2]).rad2deg().mean()

    assert 35 < down(high) < 55 and 4 < down(usual) < 12 and high.heatmaps(slice(2)).shape[-1] == 32
    whole = make_dataset(
        poses,
        cameras=CameraConfig(cut_probability=0.0),
        detector=DetectorConfig(occluder_rate=0.0, self_occlusion_rate=0.0, truncation_rate=0.0),
        cache=False,
    )
    assert not whole.hard.any() and (whole.detections.gaussians.sigma < 2.15).all(), (
        "nothing hides anything: every joint is sure"
    )
    assert ((whole.keypoints_true > -0.5) & (whole.keypoints_true < 63.5)).all()


@pytest.mark.parametrize(
    "arguments, error",
    [
        ((torch.zeros(4, 16, 3),), ShapeError),
        ((torch.zeros(17, 3),), ShapeError),
        ((torch.zeros(0, 17, 3),), ShapeError),
        ((np.zeros((4, 17, 3)),), ShapeError),
        ((torch.full((4, 17, 3), float("nan")),), NotFiniteError),
        ((torch.full((4, 17, 3), float("inf")),), NotFiniteError),
        ((torch.randn(4, 17, 3), ["walk"] * 3), ShapeError),
    ],
)
def test_bad_poses(arguments, error):
    with pytest.raises(error, match="expected"):
        make_dataset(*arguments, cache=False)


def test_a_pose_of_one_repeated_point_is_refused():
    with pytest.raises(ValueError, match="coincide"):
        make_dataset(torch.zeros(2, 17, 3), cache=False)


def test_cache_is_used_and_repaired(poses, own_cache):
    made = make_dataset(poses, "walk", "kim", seed=5)
    (path,) = own_cache.rglob("*.safetensors")
    before = path.stat().st_mtime_ns
    again = make_dataset(poses, "walk", "kim", seed=5)
    assert (
        again.fingerprint == made.fingerprint
        and path.stat().st_mtime_ns == before
        and again.camera.image_size == made.camera.image_size
    )
    sound = path.read_bytes()
    flipped = bytearray(sound)
    flipped[len(sound) // 2] ^= 16
    for damaged in (b"", sound[:100], sound[:-10], bytes(flipped), b"nonsense" * 1000):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="made again"):
            assert make_dataset(poses, "walk", "kim", seed=5).fingerprint == made.fingerprint
        assert path.stat().st_size == len(sound), "the damaged file was replaced"


def test_cache_tells_inputs_apart(poses, own_cache):
    for i, arguments in enumerate(
        (
            dict(),
            dict(seed=1),
            dict(actions="run"),
            dict(cameras=CameraConfig(roll=0.0)),
            dict(detector=DetectorConfig(occluder_rate=0.5)),
            dict(world_poses=poses + 0.001),
        ),
        1,
    ):
        make_dataset(**{"world_poses": poses, **arguments})
        assert len(list(own_cache.rglob("*.safetensors"))) == i
    make_dataset(poses, cache=False, seed=9)
    assert len(list(own_cache.rglob("*.safetensors"))) == i


def test_a_cache_that_cannot_be_written(poses, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PROBPOSE_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="PROBPOSE_CACHE"):
        assert len(make_dataset(poses)) == 64
