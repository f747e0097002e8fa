"Data sets: cameras, crops, detections, splits, caching, the CMU file and what is wrong with files."

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, DataFileError, NotFiniteError, ShapeError, UnknownNameError
from probpose.data import LICENSED, load
from probpose.data.cameras import CameraConfig, random_cameras, random_crops
from probpose.data.cmu import FAMILIES, TEST_SUBJECTS, TRAIN_SUBJECTS, action_family, cmu_frames, read_npz
from probpose.data.dataset import make_dataset
from probpose.data.frames import choose_evenly
from probpose.data.synthetic import (
    ACTIVITIES,
    ANGLES,
    LIMITS,
    SPLITS,
    activity_angles,
    make_bones,
    pose_from_angles,
    synthetic_frames,
)
from probpose.evidence.simulated import DetectorConfig
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import H36M_17, MPII_16

FILE = "cmu_h36m17_30hz.npz"


@pytest.fixture(scope="module")
def train():
    return load("synthetic", size=600)


@pytest.fixture(scope="module")
def poses():
    return synthetic_frames("test", size=64).poses


# Contents


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


# Rows


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
        torch.equal(batch["poses"], train.poses[index])
        and torch.equal(batch["keypoints"], train.detections.keypoints[index])
        and torch.equal(batch["keypoints_true"], train.keypoints_true[index])
    )
    assert len(batch["detections"]) == 3 and torch.equal(train.to("cpu").poses, train.poses)


@pytest.mark.parametrize("index", [600, [0, 600], torch.zeros(3, dtype=torch.bool), "all", [0.5]])
def test_rows_that_are_not_there(train, index):
    with pytest.raises(ShapeError, match="index"):
        train[index]


# Determinism


def test_same_arguments_same_data():
    state = torch.random.get_rng_state()
    first, cached, again = (load("synthetic", size=60, cache=cache) for cache in (True, True, False))
    assert torch.equal(torch.random.get_rng_state(), state), "global random numbers are left alone"
    assert (
        first.fingerprint == cached.fingerprint == again.fingerprint != load("synthetic", size=60, seed=1).fingerprint
    )


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


def test_splits_share_nobody():
    people, others = set(synthetic_frames("train", size=1000).subject), set(synthetic_frames("test", size=1000).subject)
    assert len(people) == 10 and len(others) == 4 and not people & others


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


# Other cameras and detectors


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


def test_distorted_cameras(poses):
    config = CameraConfig(distortion=(-0.2, 0.25, 0.001, -0.001, 0.0))
    bent = make_dataset(poses, cameras=config, cache=False)
    straight = replace(bent.camera, distortion=None).project(bent.poses + bent.root[:, None])
    assert bent.camera.distortion.shape == (64, 5) and 0.01 < (bent.image_points() - straight).norm(dim=-1).max() < 20


def test_cuts_put_joints_outside(poses):
    seen = random_cameras(poses, CameraConfig(), make_generator(0))
    image = seen.project(seen.to_camera(poses))

    def outside(crop):
        return ((crop.to_map(image) < -0.5) | (crop.to_map(image) > 63.5)).any(-1).any(-1).float().mean()

    assert (
        outside(random_crops(image, CameraConfig(cut_probability=0.0), make_generator(1)))
        < 0.05
        < 0.5
        < outside(random_crops(image, CameraConfig(cut_probability=1.0), make_generator(1)))
    )


@pytest.mark.parametrize(
    "wrong",
    [
        dict(elevation="steep"),
        dict(focal=(0.0, 1145.0)),
        dict(cut_probability=-0.1),
        dict(margin=0.0),
        dict(distance=(5.0, -1.0)),
    ],
)
def test_impossible_cameras(wrong):
    with pytest.raises((ConfigError, UnknownNameError), match="expected"):
        CameraConfig(**wrong)


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


# Cache


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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


# Synthetic people


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


# The front door


@pytest.mark.parametrize("name", LICENSED)
def test_licensed_data_are_named_not_served(name):
    with pytest.raises(DataFileError, match="licensed"):
        load(name)


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


# The CMU file


@pytest.fixture(scope="module")
def everything(cmu_path):
    return cmu_frames("all", cmu_path)


def test_cmu_counts(everything, cmu_path):
    assert (
        len(everything) == 35_657
        and len(set(everything.subject)) == 13
        and set(everything.subject) == {*TRAIN_SUBJECTS, *TEST_SUBJECTS}
    )
    train, test = cmu_frames("train", cmu_path), cmu_frames("test", cmu_path / FILE)
    assert (
        len(train) + len(test) == len(everything)
        and set(train.subject) == set(TRAIN_SUBJECTS)
        and set(test.subject) == set(TEST_SUBJECTS)
    )


def test_every_cmu_description_has_a_family(cmu_path):
    with np.load(cmu_path / FILE) as file:
        texts = set(file["clip_action"].tolist())
    families = {text: action_family(text, strict=True) for text in texts}
    assert len(texts) == 61 and set(families.values()) <= set(FAMILIES) and len(set(families.values())) >= 12
    assert all(family == "dance" for text, family in families.items() if text.startswith("dance")) and all(
        family == "basketball" for text, family in families.items() if text.startswith("basketball")
    )


def test_cmu_bones_and_axes(everything, cmu_path):
    with np.load(cmu_path / FILE) as file:
        table = dict(zip(file["subjects"].tolist(), torch.from_numpy(file["bone_lengths"])))
        assert file["bones"].tolist() == [list(bone) for bone in H36M_17.bones]
    for subject, lengths in table.items():
        own = everything.poses[torch.from_numpy(everything.subject == subject)]
        measured = torch.stack([(own[:, b] - own[:, a]).norm(dim=-1) for a, b in H36M_17.bones], 1)
        assert (measured - lengths).abs().max() < 2e-3
    walking = everything.poses[torch.from_numpy(everything.action == "walk")]
    assert (walking[:, 10, 1] > walking[:, 0, 1]).all() and (walking[:, 0, 1] > walking[:, 3, 1]).all(), "y is up"


def test_cmu_data_set(cmu_path):
    train, test = (load("cmu", split=split, size=800, path=cmu_path) for split in ("train", "test"))
    assert set(train.subject) == set(TRAIN_SUBJECTS) and set(test.subject) == set(TEST_SUBJECTS) and train.name == "cmu"
    error = 1000 * (test.poses - train.poses.mean(0)).norm(dim=-1).mean()
    assert 203 < error < 223, f"the mean pose is {error:.0f} mm off on the test subjects"
    for split in (train, test):
        uncertain = (split.detections.gaussians.sigma > 2.1).any(-1).any(-1).float().mean()
        assert 0.07 < split.hard.float().mean() < 0.17 and 0.4 < uncertain < 0.65


def test_cmu_through_the_environment(cmu_path, monkeypatch):
    for value in (cmu_path, cmu_path / FILE):
        monkeypatch.setenv("PROBPOSE_CMU", str(value))
        assert len(load("cmu", size=50)) == 50


def test_cmu_from_raw_files(cmu_raw):
    raw = load("cmu", split="train", size=100, path=cmu_raw)
    assert len(raw) == 100 and set(raw.subject) == {"02", "05"} and set(raw.action) == {"walk", "dance"}
    with pytest.raises(DataFileError, match="test subjects"):
        load("cmu", split="test", path=cmu_raw)


@pytest.mark.parametrize("keep", [0, 1000, 0.5, 0.99])
def test_cmu_file_cut_off(cmu_path, tmp_path, keep):
    whole = (cmu_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(DataFileError, match="truncated"):
        load("cmu", path=tmp_path)


def test_another_npz_is_recognised(cmu_path, tmp_path):
    shutil.copy(cmu_path / "cmu_daz_localrot_30hz.npz", tmp_path / FILE)
    with pytest.raises(DataFileError, match="missing"):
        load("cmu", path=tmp_path)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / FILE, positions=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataFileError):
        read_npz(tmp_path / FILE)
