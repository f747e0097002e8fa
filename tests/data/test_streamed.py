"Large data sets are built block by block and stay in their file: to the last bit the same people as all at once."

import gc
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import probpose.data.dataset as made_in
from probpose.core.batches import tensor_leaves
from probpose.core.devices import make_generator, single_thread
from probpose.core.storage import release_memory
from probpose.data.cameras import CameraConfig, random_cameras, random_crops
from probpose.data.cmu import cmu_frames
from probpose.data.dataset import PoseDataset, make_dataset, observe_frames, photograph_frames
from probpose.data.frames import choose_evenly
from probpose.data.synthetic import synthetic_frames
from probpose.evidence.beliefs import Belief
from probpose.evidence.simulated import DetectorConfig, SimulatedDetector
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import H36M_17, MPII_16
from probpose.models.baselines.martinez import Martinez
from probpose.training.loop import train
from probpose.training.specs import TrainingConfig

COUNT, BLOCK = 600, 256  # two blocks and a part of one
LABELS = {"name": "people", "split": "train", "seed": 3}


@pytest.fixture
def blocks(tmp_path, monkeypatch):
    "Small blocks, and a cache in which a data set of more than 100 people stays."
    monkeypatch.setenv("PROBPOSE_CACHE", str(tmp_path))
    monkeypatch.setattr(made_in, "_BLOCK", BLOCK)
    monkeypatch.setattr(made_in, "STREAMED", 100)
    return tmp_path


def all_at_once(seen, camera, cameras, detector, source):
    "A data set in memory, written out: what blocks and files have to be equal to."
    image = camera.project(seen.poses)
    crop = random_crops(image, cameras, source)
    keypoints = crop.to_map(convert(image, H36M_17, MPII_16))
    observer = SimulatedDetector(replace(detector, map_size=cameras.map_size))
    points = convert(seen.poses, H36M_17, MPII_16)
    parts = [observer.observe(*pair, source) for pair in zip(keypoints.split(BLOCK), points.split(BLOCK))]
    belief = Belief(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("weights", "means", "covariances"))
    )
    found = belief.detections(size=cameras.map_size, crop=crop)
    root, labels = seen.poses[:, 0], (seen.action, seen.subject, seen.clip)
    poses = seen.poses - seen.poses[:, :1]
    return PoseDataset(poses, root, keypoints, found, belief, *labels, camera, crop, **LABELS)


def photographed(frames, cameras, detector):
    source = make_generator(LABELS["seed"])
    camera = random_cameras(frames.poses, cameras, source)
    seen = replace(frames, poses=camera.to_camera(frames.poses))
    plain = all_at_once(seen, camera, cameras, detector, source)
    return plain, lambda cache: photograph_frames(frames, cameras, detector, **swapped(), cache=cache)


def observed(frames, cameras, detector):
    camera = random_cameras(frames.poses, cameras, make_generator(8))
    seen = replace(frames, poses=camera.to_camera(frames.poses))
    plain = all_at_once(seen, camera, cameras, detector, make_generator(LABELS["seed"]))
    return plain, lambda cache: observe_frames(seen, camera, cameras, detector, **swapped(), cache=cache)


def swapped():
    return {name: LABELS[name] for name in ("seed", "name", "split")}


def captured_frames(request):
    frames = cmu_frames("train", request.getfixturevalue("cmu_path"))
    return frames[choose_evenly(len(frames), COUNT)]


BENT = CameraConfig(distortion=(-0.2, 0.2, 0.001, -0.002, 0.01), map_size=48)
SETS = {
    "synthetic": lambda request: photographed(synthetic_frames("train", size=COUNT), CameraConfig(), DetectorConfig()),
    "cmu": lambda request: photographed(captured_frames(request), CameraConfig(elevation="wide"), DetectorConfig()),
    "lens": lambda request: observed(synthetic_frames("test", size=COUNT), BENT, DetectorConfig(occluder_rate=0.5)),
}


def leaves(batch):
    return {name: value for name, value in tensor_leaves(batch) if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("name", SETS)
def test_batches_of_a_streamed_data_set_are_those_of_a_plain_one(request, blocks, name):
    with single_thread():
        plain, make = SETS[name](request)
    streamed, reread, whole = make(True), make(True), make(False)
    assert len(list(blocks.rglob("*.safetensors"))) == 1 and not list(blocks.rglob("*.partial"))
    rows = torch.randperm(COUNT, generator=make_generator(0))[:130]
    expected = leaves(plain.batch(rows, heatmaps=True))
    for other in (streamed, reread, whole):
        assert other.fingerprint == plain.fingerprint and repr(other) == repr(plain)
        release_memory()
        found = leaves(other.batch(rows, heatmaps=True))
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
        for label in ("action", "subject", "clip"):
            assert getattr(other, label).tolist() == getattr(plain, label).tolist()
            assert getattr(other, label).nbytes == 8 * COUNT, "a label is a reference to one of a few names"
        assert other.hard_subset().fingerprint == plain.hard_subset().fingerprint


def test_training_ends_with_the_same_bits(blocks):
    frames = synthetic_frames("train", size=COUNT)

    def weights(cache):
        torch.manual_seed(0)
        data = photograph_frames(frames, CameraConfig(), DetectorConfig(), **swapped(), cache=cache)
        config = TrainingConfig(iterations=12, batch_size=64, device="cpu", progress=False)
        return train(Martinez(), data, config).model.state_dict()

    first, second = weights(True), weights(False)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_data_set_outlives_its_file(blocks):
    frames = synthetic_frames("train", size=COUNT)
    data = photograph_frames(frames, CameraConfig(), DetectorConfig(), **swapped(), cache=True)
    before = data.fingerprint
    (path,) = blocks.rglob("*.safetensors")
    path.unlink()
    gc.collect()
    release_memory()
    assert data.fingerprint == before


def test_a_damaged_file_is_made_again(blocks, poses):
    many = poses.repeat(2, 1, 1)
    made = make_dataset(many, np.tile(["walk", "run"], 64), seed=5).fingerprint
    (path,) = blocks.rglob("*.safetensors")
    sound = path.read_bytes()
    flipped = bytearray(sound)
    flipped[-1000] ^= 16
    for damaged in (b"", sound[:100], sound[:-10], bytes(flipped)):
        path.unlink()
        path.write_bytes(damaged)
        gc.collect()
        with pytest.warns(UserWarning, match="made again"):
            assert make_dataset(many, np.tile(["walk", "run"], 64), seed=5).fingerprint == made
        assert path.read_bytes() == sound, "the damaged file was replaced"


def test_without_room_a_data_set_is_in_memory(blocks, poses, tmp_path, monkeypatch):
    many = poses.repeat(2, 1, 1)
    made = make_dataset(many, seed=5).fingerprint
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PROBPOSE_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="PROBPOSE_CACHE"):
        assert make_dataset(many, seed=5).fingerprint == made
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make_dataset(many, seed=5, cache=False).fingerprint == made
