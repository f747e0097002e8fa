"Files of hypotheses and truths: what they may hold, and every way in which they are refused."

import json

import numpy as np
import pytest
import torch

from probpose.bodies.pose_files import write_poses
from probpose.bodies.tracks import PoseRecords
from probpose.core.errors import ConfigError, DataFileError, SkeletonError, UnknownNameError
from probpose.data import load
from probpose.evaluation.hypothesis_files import match_rows, read_predictions, read_truth, save_truth
from probpose.geometry.conversions import convert, rest_pose


@pytest.fixture(scope="module")
def people():
    "Hypotheses (5, 8, 17, 3) of persons, metres, before the camera."
    g = torch.Generator().manual_seed(0)
    where = torch.tensor([0.3, -0.2, 4.0]) + 0.5 * torch.randn(8, 1, 3, generator=g)
    return rest_pose("h36m_17") + where + 0.02 * torch.randn(5, 8, 17, 3, generator=g)


def centred(poses):
    return poses - poses[..., :1, :]


def write(path, **entries):
    np.savez(path, **{name: np.asarray(value) for name, value in entries.items()})
    return path


@pytest.mark.parametrize("factor, unit", [(1, "metres"), (100, "centimetres"), (1000, "millimetres")])
@pytest.mark.parametrize("said", ["file", "caller", "nobody"])
def test_every_unit_is_read_whoever_says_it(people, tmp_path, factor, unit, said):
    more = {"units": unit} if said == "file" else {}
    path = write(tmp_path / "a.npz", poses=factor * people, **more)
    found = read_predictions(path, unit=unit if said == "caller" else None)
    assert torch.allclose(found.poses, centred(people), atol=1e-5)
    assert any(f"read as {unit}" in line for line in found.notes) == (said == "nobody")


@pytest.mark.parametrize("form", ["npz", "npy", "json", "array"])
def test_the_first_bytes_say_what_a_file_is(people, tmp_path, form):
    path = tmp_path / "a.dat"
    if form in ("json", "array"):
        path.write_text(json.dumps({"poses": people.tolist()} if form == "json" else people.tolist()))
    else:
        with open(path, "wb") as file:
            np.save(file, people.numpy()) if form == "npy" else np.savez(file, samples=people.numpy())
    assert torch.allclose(read_predictions(path).poses, centred(people), atol=1e-5)


def test_axes_are_turned_by_a_matrix(people, tmp_path):
    turn = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x right, y forward, z up: camera axes to the file's
    world = people @ turn.T
    assert torch.allclose(world[..., 2], -people[..., 1])
    given = read_predictions(write(tmp_path / "a.npz", poses=world), axes="x,-z,y")
    said = read_predictions(write(tmp_path / "b.npz", poses=world, axes="x,-z,y"))
    assert torch.allclose(given.poses, centred(people), atol=1e-5) and torch.equal(given.poses, said.poses)
    for wrong in ("x,y", "x,x,y", "x,--z,y", "right"):
        with pytest.raises(ConfigError, match="x,-z,y"):
            read_predictions(tmp_path / "a.npz", axes=wrong)


@pytest.mark.parametrize("name", ["smpl_24", "coco_17", "body_25", "mpi_inf_3dhp_28", "h36m_32"])
def test_other_joint_sets_by_name(name, tmp_path):
    poses = rest_pose(name)[None, None].repeat(3, 4, 1, 1)
    path = write(tmp_path / "a.npz", poses=1000 * poses, skeleton=name)
    found = read_predictions(path)
    assert torch.allclose(found.poses, centred(convert(poses, name, "h36m_17", approximate=True)), atol=1e-5)
    assert any("say little" in line for line in found.notes) == (name in ("smpl_24", "coco_17", "body_25"))


def test_a_joint_set_that_was_not_named_is_recognised_or_refused(tmp_path):
    with pytest.raises(SkeletonError, match="--skeleton coco_17"):
        read_truth(write(tmp_path / "a.npz", poses=rest_pose("coco_17")[None].repeat(4, 1, 1)))
    alone = read_truth(write(tmp_path / "b.npz", poses=rest_pose("smpl_24")[None]))
    assert alone.skeleton == "smpl_24" and "smpl_24" in alone.notes[0]
    with pytest.raises(SkeletonError, match="19 joints"):
        read_truth(write(tmp_path / "c.npz", poses=np.ones((2, 19, 3))))
    with pytest.raises(SkeletonError, match="17 joints of h36m_17, got 24"):
        read_truth(tmp_path / "b.npz", skeleton="h36m_17")
    with pytest.raises(UnknownNameError, match="h36m_17"):
        read_truth(tmp_path / "b.npz", skeleton="h36m")


def test_the_single_pose(people, tmp_path):
    density = np.random.default_rng(0).normal(size=(5, 8))
    density[0, 0] = np.nan
    plain = centred(people)
    found = read_predictions(write(tmp_path / "a.npz", poses=people))
    assert torch.allclose(found.single, plain.mean(0), atol=1e-5) and "mean" in found.single_is
    found = read_predictions(write(tmp_path / "b.npz", poses=people, log_prob=density))
    likeliest = [max(range(5), key=lambda k: -np.inf if np.isnan(density[k, n]) else density[k, n]) for n in range(8)]
    assert torch.allclose(found.single, plain[likeliest, range(8)], atol=1e-5)
    found = read_predictions(write(tmp_path / "c.npz", poses=people, log_prob=density, mode=people[3]))
    assert torch.allclose(found.single, plain[3], atol=1e-5) and "mode" in found.single_is


def test_unequal_weights_draw_anew_in_proportion(people, tmp_path):
    many = people.repeat(80, 1, 1, 1)[:400] + 1e-3 * torch.arange(400)[:, None, None, None] * torch.eye(17, 3)
    weights = np.random.default_rng(1).random((400, 8)) ** 3
    found = read_predictions(write(tmp_path / "a.npz", poses=many, weights=weights))
    wanted = (torch.from_numpy(weights / weights.sum(0))[..., None, None] * centred(many).double()).sum(0)
    assert (found.poses.double().mean(0) - wanted).abs().max() < 3e-3
    same = read_predictions(write(tmp_path / "b.npz", poses=people, weights=np.full((5, 8), 0.2)))
    assert torch.allclose(same.poses, centred(people), atol=1e-5)
    for wrong in (-weights, 0 * weights):
        with pytest.raises(DataFileError, match="a.npz, weights"):
            read_predictions(write(tmp_path / "a.npz", poses=many, weights=wrong))


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_what_lift_writes_is_read(people, tmp_path, suffix):
    poses = centred(people)
    records = PoseRecords(poses.mean(0), poses, frame=np.arange(8) + 3, model="poseflow")
    write_poses(tmp_path / f"a{suffix}", records)
    found = read_predictions(tmp_path / f"a{suffix}")
    assert torch.allclose(found.poses, poses, atol=1e-5) and found.single_is == "the file's mode"
    truth = read_truth(write(tmp_path / "t.npz", poses=poses[0, ::2], frame=np.arange(8)[::2] + 3))
    first, second, notes = match_rows(found, truth)
    assert torch.allclose(first.poses, poses[:, ::2], atol=1e-5) and "4 predictions" in notes[0]
    assert torch.allclose(second.poses, poses[0, ::2], atol=1e-5)


def _cut(path, people):
    write(path, poses=people)
    path.write_bytes(path.read_bytes()[:-400])


def _damage(path, people):
    write(path, poses=people)
    content = bytearray(path.read_bytes())
    content[600:640] = bytes(40)
    path.write_bytes(content)


def _with(position, value):
    def save(path, people):
        poses = people.clone()
        poses[position] = value
        write(path, poses=poses)

    return save


BAD = {
    "cut": (_cut, "a.npz"),
    "damaged": (_damage, "a.npz"),
    "text": (lambda path, _: path.write_text("poses"), "a.npz.*npz, .npy or .json"),
    "picture": (lambda path, _: path.write_bytes(b"\xff\xd8\xff\xe0JFIF"), "a.npz"),
    "empty": (lambda path, _: path.write_bytes(b""), "a.npz"),
    "pickled": (lambda path, p: write(path, poses=np.array([{"a": p}, None], object)), "a.npz, poses.*pickled"),
    "pickled aside": (lambda path, p: write(path, poses=p, mode=np.array([{}], object)), "a.npz, mode.*pickled"),
    "other key": (lambda path, p: write(path, joints3d=p), "poses or hypotheses"),
    "two": (lambda path, p: write(path, poses=p, samples=p), "poses and samples"),
    "words": (lambda path, p: write(path, poses=np.full((5, 8, 17, 3), "a")), "a.npz, poses.*numbers"),
    "flat": (lambda path, p: write(path, poses=p.flatten(2)), "a.npz, poses.*51"),
    "2D": (lambda path, p: write(path, poses=p[..., :2]), "a.npz, poses.*3"),
    "five axes": (lambda path, p: write(path, poses=p[None]), "a.npz, poses"),
    "no frames": (lambda path, p: write(path, poses=p[:, :0]), "a.npz, poses"),
    "NaN": (_with((2, 6, 4, 1), torch.nan), r"a.npz, poses"),
    "infinite": (_with((0, 0, 0, 0), torch.inf), "a.npz, poses"),
    "unit": (lambda path, p: write(path, poses=p, units="millimetres"), "look like metres"),
    "unknown unit": (lambda path, p: write(path, poses=p, units="inch"), "unit 'inch'"),
    "unit size": (lambda path, p: write(path, poses=17 * p), "in none of them"),
    "zeros": (lambda path, p: write(path, poses=0 * p), "in none of them"),
    "mode": (lambda path, p: write(path, poses=p, mode=p[0, :3]), "a.npz, mode"),
    "density": (lambda path, p: write(path, poses=p, log_prob=np.zeros((8, 5))), "a.npz, log_prob"),
    "rows": (lambda path, p: write(path, poses=p, frame=np.arange(7)), "a.npz, frame"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_bad_files_are_refused_by_name(people, tmp_path, kind):
    save, said = BAD[kind]
    save(tmp_path / "a.npz", people)
    with pytest.raises((DataFileError, SkeletonError, UnknownNameError), match=said):
        read_predictions(tmp_path / "a.npz")


def test_the_place_of_a_number_that_is_none_is_named(people, tmp_path):
    _with((2, 6, 4, 1), torch.nan)(tmp_path / "a.npz", people)
    truth = people[0].clone()
    truth[6, 4, 1] = torch.nan
    with pytest.raises(DataFileError, match=r"\(6, 4, 1\)"):
        read_truth(write(tmp_path / "t.npz", poses=truth))
    many = people.repeat(1, 40, 1, 1)
    many[3, 311, 5, 2] = torch.nan
    with pytest.raises(DataFileError, match=r"\(3, 311, 5, 2\)"):
        read_predictions(write(tmp_path / "b.npz", poses=many))


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("it was run",))

    with open(tmp_path / "a.npz", "wb") as file:
        np.savez(file, poses=np.array([Bomb()], dtype=object))
    with open(tmp_path / "b.npy", "wb") as file:
        np.save(file, np.array([Bomb()], dtype=object))
    for name in ("a.npz", "b.npy"):
        for read in (read_predictions, read_truth):
            with pytest.raises(DataFileError, match=name):
                read(tmp_path / name)


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(DataFileError, match="cannot be read"):
            read_predictions(path)


def test_rows_that_do_not_belong_together(people, tmp_path):
    truth = read_truth(write(tmp_path / "t.npz", poses=people[0, :5]))
    with pytest.raises(DataFileError, match="5 frames, got 5 hypotheses of 8 frames; .*--order frames-first"):
        match_rows(read_predictions(write(tmp_path / "a.npz", poses=people)), truth)
    turned = read_predictions(tmp_path / "a.npz", order="frames-first")
    assert match_rows(turned, truth)[0].poses.shape == (8, 5, 17, 3)
    with pytest.raises(UnknownNameError, match="frames-first"):
        read_predictions(tmp_path / "a.npz", order="mnj")
    numbered = write(tmp_path / "n.npz", poses=people[0], frame=np.arange(8) + 50)
    found = read_predictions(write(tmp_path / "b.npz", poses=people, frame=np.arange(8)))
    with pytest.raises(DataFileError, match="none in common"):
        match_rows(found, read_truth(numbered))
    twice = read_predictions(write(tmp_path / "c.npz", poses=people, frame=np.zeros(8, int)))
    with pytest.raises(DataFileError, match="predictions: expected each frame once"):
        match_rows(twice, read_truth(numbered))


def test_our_own_data_sets_make_the_round_trip(tmp_path):
    frames = load("synthetic", split="test", size=20)
    truth = read_truth(save_truth(frames, tmp_path / "t.npz"))
    assert truth.notes == () and torch.allclose(truth.poses, frames.poses, atol=1e-5)
    assert truth.labels["subject"].tolist() == frames.subject.tolist()
    projected = frames.image_points()
    placed = truth.poses + truth.camera["root"][:, None]
    focal, centre = truth.camera["focal"][:, None], truth.camera["centre"][:, None]
    plain = focal * placed[..., :2] / placed[..., 2:] + centre
    assert (plain - projected).norm(dim=-1).median() < 15  # the lens bends by a few pixels
    shared = convert(projected, "h36m_17", "mpii_16")
    seen = torch.isfinite(truth.keypoints).all(-1)
    assert (truth.keypoints - shared).norm(dim=-1)[seen].median() < 30


@pytest.mark.parametrize(
    "entries, said",
    [
        (dict(keypoints=np.zeros((3, 16, 2))), "keypoints"),
        (dict(keypoints=np.zeros((8, 16, 2)), keypoints_skeleton="coco_17"), "coco_17, got 16"),
        (dict(keypoints=np.zeros((8, 11, 2))), "keypoints_skeleton"),
        (dict(subject=np.zeros(3)), "subject"),
        (dict(keypoints=np.zeros((8, 16, 2)), focal=np.zeros(3), centre=np.zeros(2)), "focal"),
        (dict(keypoints=np.zeros((8, 16, 2)), root=np.zeros((8, 2))), "root"),
    ],
)
def test_what_does_not_belong_to_a_truth(people, tmp_path, entries, said):
    with pytest.raises((DataFileError, SkeletonError), match=said):
        read_truth(write(tmp_path / "t.npz", poses=people[0], **entries))
