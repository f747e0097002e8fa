"3DPW: bodies, cameras and detections agree; what is damaged is named."

import pickle

import numpy as np
import pytest
import roma
import torch

from probpose.bodies.body import load_body
from probpose.data import load
from probpose.data.posed import place_points
from probpose.data.pw3d import pw3d_bodies, pw3d_frames
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import BODY_JOINTS, COCO_18, H36M_17, SMPL_24


def true_bodies(frames=6):
    "Rotation vectors (frames, 72) in a world with y up, and where SMPL's joints are, by the open body."
    body, rng = load_body(), np.random.default_rng(0)
    vectors = 0.15 * rng.normal(size=(frames, 24, 3))
    vectors[:, 0] = [[0.0, 0.3 * k, 0.0] for k in range(frames)]
    vectors[:, BODY_JOINTS.index("r_shoulder")] = [0.0, 0.0, -1.2]  # the right arm goes up
    rotations = roma.rotvec_to_rotmat(torch.from_numpy(vectors[:, :22]).float())
    place = torch.tensor([[0.5, 0.9, 0.1]]).expand(frames, 3)
    joints = place_points(body, "joints", rotations, torch.zeros(frames, body.num_betas), place)
    hands = joints[:, 20:22] + 0.3 * (joints[:, 20:22] - joints[:, 18:20])
    return vectors.reshape(frames, 72), torch.cat((joints, hands), 1).double().numpy()


K = np.array([[1960.0, 0, 540.0], [0, 1960.0, 960.0], [0, 0, 1]])


def camera_poses(frames):
    "A camera that looks at the person from the front and moves a little."
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, :3] = np.diag([1.0, -1.0, -1.0])
    poses[:, :3, 3] = [[-0.5 + 0.02 * k, 1.0, 5.0] for k in range(frames)]
    return poses


def write_sequence(
    folder, split="test", name="downtown_arguing_00", frames=6, spelling=("genders", "poses2d"), **changes
):
    vectors, joints = true_bodies(frames)
    cameras = camera_poses(frames)
    seen = np.einsum("tij,tkj->tki", cameras[:, :3, :3], joints) + cameras[:, None, :3, 3]
    points = seen[..., :2] / seen[..., 2:] * 1960 + [540, 960]
    approximate = convert(torch.from_numpy(points), SMPL_24, "mpii_16", approximate=True)
    flat = np.zeros((frames, 3, 18))
    for joint, landmark in enumerate(COCO_18.landmarks):
        if landmark in SMPL_24.landmarks:
            flat[:, :2, joint] = points[:, SMPL_24.landmarks.index(landmark)]
            flat[:, 2, joint] = 0.9
    flat[:, :2, 0], flat[:, 2, 0] = approximate[:, 8], 0.8  # the nose
    flat[:, :2, 1], flat[:, 2, 1] = approximate[:, 7], 0.8  # the neck
    for eye in range(14, 18):
        flat[:, :2, eye], flat[:, 2, eye] = approximate[:, 9], 0.7
    flat[2] = 0  # nobody was found
    valid = np.ones(frames, bool)
    valid[1] = False
    content = {
        "sequence": name,
        "poses": [vectors, vectors],
        "betas": [np.linspace(-1, 1, 10), np.zeros(10)],
        "trans": [np.zeros((frames, 3))] * 2,
        "jointPositions": [joints.reshape(frames, 72)] * 2,
        spelling[0]: ["m", "f"],
        spelling[1]: [flat, flat],
        "campose_valid": [valid, valid],
        "cam_poses": cameras,
        "cam_intrinsics": K,
        "img_frame_ids": np.arange(frames) * 2,
    } | changes
    path = folder / "sequenceFiles" / split / f"{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({k: v for k, v in content.items() if v is not None}, protocol=2))
    return seen, points


@pytest.mark.parametrize("spelling", [("genders", "poses2d"), ("gender", "poses2D")])
def test_people_of_a_sequence(tmp_path, spelling):
    seen, points = write_sequence(tmp_path, spelling=spelling)
    man, woman = pw3d_bodies(tmp_path, "test")
    rows = [0, 2, 3, 4, 5]
    assert set(man.gender) == {"male"} and set(woman.gender) == {"female"} and len(man) == 5
    assert man.image[1] == "imageFiles/downtown_arguing_00/image_00002.jpg" and set(man.action) == {"downtown_arguing"}
    assert np.allclose(man.joints, seen[rows], atol=1e-4)
    assert np.abs(man.camera.project(man.joints).numpy() - points[rows]).max() < 0.05
    assert man.camera.image_size == (1080, 1920) and np.allclose(man.betas[0], np.linspace(-1, 1, 10))
    assert np.allclose(man.pelvis, seen[rows][:, 0], atol=1e-4)


def test_left_is_left_and_units(tmp_path):
    write_sequence(tmp_path)
    frames = pw3d_frames(tmp_path, "test")
    assert len(frames) == 10 and frames.detections is None
    first = frames.poses[0]
    left, right, head = (H36M_17.index(name) for name in ("left_wrist", "right_wrist", "head"))
    assert first[right, 0] < first[left, 0], "who faces the camera has their right on the left of the image"
    assert first[right, 1] < first[head, 1] + 0.2 < first[left, 1] + 0.2, "the right arm is raised, y points down"
    thigh = (first[H36M_17.index("left_knee")] - first[H36M_17.index("left_hip")]).norm()
    assert 0.3 < thigh < 0.55
    world = frames.camera.to_world(frames.poses)[0]
    assert world[head, 1] > world[0, 1] + 0.4, "y points up in the world"


def test_joints_of_a_body_and_protocols(tmp_path):
    seen, _ = write_sequence(tmp_path, betas=[np.zeros(10)] * 2)
    body = load_body()
    people = next(pw3d_bodies(tmp_path, "test", body))
    assert torch.allclose(people.poses, people.points("h36m_17", body), atol=1e-5)
    joints = people.points("joints", body)
    assert np.allclose(joints, seen[[0, 2, 3, 4, 5]][:, :22], atol=1e-4), (
        "rotations in camera axes give the stored joints"
    )
    fourteen = people.points("lsp_14", body)
    assert fourteen.shape == (5, 14, 3)
    assert torch.allclose(fourteen[:, 1], joints[:, BODY_JOINTS.index("r_knee")], atol=0.05)
    moved = people.motions()
    assert moved.poses[0, H36M_17.index("head"), 1] > moved.poses[0, 0, 1] + 0.4


def test_detections_of_openpose(tmp_path):
    write_sequence(tmp_path)
    frames = pw3d_frames(tmp_path, "test", detected=True)
    assert len(frames) == 8, "frame 1 has no camera, in frame 2 nobody was found"
    assert frames.detections.missing is None
    data = load("pw3d", split="test", path=tmp_path)
    assert len(data) == 10 and data.belief is not None, "simulated"
    found = frames.detections.crop.from_map(frames.detections.keypoints)
    true = convert(frames.camera.project(frames.poses), H36M_17, "mpii_16")
    limbs = [0, 1, 4, 5, 10, 11, 14, 15]
    assert (found - true)[:, limbs].abs().max() < 1


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(jointPositions=None), ("jointPositions", "found")),
        (dict(genders=None), ("genders",)),
        (dict(poses=[np.zeros((6, 66))] * 2), ("poses", "72")),
        (dict(poses=[np.full((6, 72), np.nan)] * 2), ("poses", "finite")),
        (dict(poses=3), ("a list of poses",)),
        (dict(cam_intrinsics=np.eye(4)), ("cam_intrinsics", "(3, 3)")),
        (dict(cam_poses=np.ones((6, 4, 4))), ("cam_poses", "rotations")),
        (dict(cam_poses=camera_poses(5)), ("cam_poses", "6 frames, got 5")),
        (
            dict(jointPositions=[1000 * true_bodies()[1].reshape(6, 72)] * 2, poses2d=[np.zeros((6, 3, 18))] * 2),
            ("millimetres",),
        ),
        (dict(jointPositions=[np.zeros((6, 72))] * 2), ("jointPositions",)),
        (dict(campose_valid=[np.ones(6)]), ("campose_valid",)),
        (dict(betas=[np.full(10, 900.0)] * 2), ("betas",)),
        (dict(cam_poses=np.linalg.inv(camera_poses(6)) @ np.diag([-1.0, -1, 1, 1])), ("jointPositions",)),
    ],
)
def test_damaged_sequences(tmp_path, refused, changes, words):
    write_sequence(tmp_path, **changes)
    refused(lambda: pw3d_frames(tmp_path, "test"), "downtown_arguing_00.pkl", *words)


def test_rotations_of_other_axes(tmp_path, refused):
    vectors, _ = true_bodies()
    vectors[:, :3] = [np.pi, 0, 0]
    turned = roma.rotmat_to_rotvec(roma.rotvec_to_rotmat(torch.tensor([0.0, 2.0, 0.0]).double())).numpy()
    vectors[:, :3] = turned
    write_sequence(tmp_path, poses=[vectors] * 2)
    refused(lambda: pw3d_frames(tmp_path, "test"), "degrees", "other axes")


def test_hostile_and_truncated_files(tmp_path, refused, trap):
    write_sequence(tmp_path)
    path = tmp_path / "sequenceFiles/test/downtown_arguing_00.pkl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    refused(lambda: pw3d_frames(tmp_path, "test"), "downtown_arguing_00.pkl", "cut short")
    path.write_bytes(pickle.dumps({"poses": [trap]}, protocol=2))
    refused(lambda: pw3d_frames(tmp_path, "test"), "downtown_arguing_00.pkl", "not run")
    refused(lambda: pw3d_frames(tmp_path, "train"), "sequenceFiles/train", "register")
