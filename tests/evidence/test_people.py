"""Files of people as other programs write them: what is read, what is noted, what is refused."""

import json
import zipfile

import numpy as np
import pytest

from probpose.core.errors import ConfigError, DataFileError, NotFiniteError, ProbposeError, ShapeError, SkeletonError
from probpose.evidence.formats import read_people
from probpose.evidence.people import map_scores, match_joints
from probpose.geometry.conversions import rest_pose
from probpose.geometry.skeletons import SKELETONS

SIZE = np.array([1280, 720])


def points_of(name):
    return (np.array([600, 300]) + 200 * rest_pose(name)[:, :2].double().numpy()).round(1)


COCO = points_of("coco_17")


def flat(name="coco_17", score=0.9):
    return [number for x, y in points_of(name).tolist() for number in (x, y, score)]


@pytest.fixture
def write(tmp_path):
    def written(content, name="a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / name

    return written


def noted(people, *words):
    return all(any(word in note for note in people.notes) for word in words)


@pytest.mark.parametrize("skeleton", ["body_25", "coco_18", "halpe_26", "wholebody_133", "coco_17"])
def test_openpose_and_its_relatives(write, skeleton):
    one = {"person_id": [-1], "pose_keypoints_2d": flat(skeleton), "face_keypoints_2d": [], "pose_keypoints_3d": [1.0]}
    people = read_people(write({"version": 1.3, "people": [one, one]}, "walk_000000000012_keypoints.json"))
    assert people.skeleton == skeleton and people.frames == (12,) and people.frame.tolist() == [12, 12]
    assert people.person.tolist() == ["0", "1"] and np.allclose(people.keypoints, points_of(skeleton), atol=1e-3)
    assert noted(people, "pose_keypoints_3d") and not noted(people, "face_keypoints_2d")


def test_a_folder_is_a_clip(write, tmp_path):
    for number, people in ((3, [{"pose_keypoints_2d": flat("body_25")}]), (4, []), (5, [])):
        write({"people": people}, f"clip/a_{number:012d}_keypoints.json")
    found = read_people(tmp_path / "clip")
    assert len(found) == 1 and found.frames == (3, 4, 5) and noted(found, "2 of 3 frames have nobody: 4, 5")
    write({"people": []}, "clip/b_000000000003_keypoints.json")
    with pytest.raises(DataFileError, match="cameras"):
        read_people(tmp_path / "clip")


def test_labels_of_a_folder(write, tmp_path):
    shares = (COCO / SIZE).round(6)
    line = " ".join(map(str, [0, 0.5, 0.5, 0.3, 0.9, *np.c_[shares, np.full(17, 2)].ravel()]))
    for number in (1, 2):
        write(line + "\n" + line, f"labels/frame_{number}.txt")
    with pytest.raises(ConfigError, match="width and height"):
        read_people(tmp_path / "labels")
    people = read_people(tmp_path / "labels", image_size=(1280, 720))
    assert people.frame.tolist() == [1, 1, 2, 2] and np.allclose(people.keypoints, COCO, atol=0.01)
    assert (people.scores == 1).all() and np.allclose(people.boxes[0], [448, 36, 832, 684], atol=0.1)


@pytest.mark.parametrize("skeleton", ["coco_17", "halpe_26"])
def test_alphapose(write, skeleton):
    x, y = points_of(skeleton).min(0) - 5
    about = {"category_id": 1, "score": 2.9, "box": [x, y, 400, 500]}
    lines = [{"image_id": f"{i}.jpg", "keypoints": flat(skeleton, 1.2), "idx": [7.0], **about} for i in (0, 2)]
    people = read_people(write(lines))
    assert people.skeleton == skeleton and people.frames == (0, 1, 2) and people.frame.tolist() == [0, 2]
    assert people.person.tolist() == ["7", "7"] and people.image.tolist() == ["0.jpg", "2.jpg"]
    assert np.allclose(people.boxes[0], [x, y, x + 400, y + 500]) and (people.scores == 1).all()
    assert noted(people, "clamped", "AlphaPose", "score", "1 of 3 frames have nobody: 1")
    crowd = read_people(write([lines[0], lines[0]]))
    assert crowd.person.tolist() == ["0", "1"] and noted(crowd, "not tracked")


def test_mmpose_scores_are_read(write):
    scores = [0.9] * 17
    scores[10] = 0.07
    one = {"keypoints": COCO.tolist(), "keypoint_scores": scores, "bbox": [[400, 90, 780, 670]], "bbox_score": 0.9}
    film = [{"frame_id": 5, "instances": [one]}, {"frame_id": 6, "instances": []}]
    for content in ([one], film, {"meta_info": {"dataset_name": "coco"}, "instance_info": film}):
        people = read_people(write(content))
        assert np.allclose(people.scores, scores) and people.skeleton == "coco_17" and people.boxes.shape == (1, 4)
    assert people.frames == (5, 6)
    whole = {"keypoints": points_of("wholebody_133").tolist(), "keypoint_scores": [0.5] * 133}
    assert read_people(write([whole])).skeleton == "wholebody_133"


def test_coco_visibility(write):
    marks = np.c_[COCO, np.full(17, 2)]
    marks[3], marks[10, 2] = 0, 1
    rows = [
        {"id": 1, "image_id": 7, "category_id": 1, "num_keypoints": 16, "keypoints": marks.ravel().tolist()},
        {"id": 2, "image_id": 7, "category_id": 1, "num_keypoints": 0, "keypoints": [0] * 51},
        {"id": 3, "image_id": 7, "category_id": 1, "iscrowd": 1, "keypoints": [0] * 51},
    ]
    names = [*SKELETONS["coco_17"].joints]
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}]
    kinds = [{"id": 1, "name": "person", "keypoints": names}]
    people = read_people(write({"images": images, "annotations": rows, "categories": kinds}))
    assert people.image.tolist() == ["a.jpg"] and people.frames == (7, 9)
    assert people.scores[0, [3, 10, 4]].tolist() == [0, 0.5, 1] and np.isnan(people.keypoints[0, 3]).all()
    assert noted(people, "1 joint(s) are hidden", "without any joint", "crowd", "3 (left_ear) in 1", "nobody: 9")
    alone = read_people(write(rows[:2]))
    assert np.array_equal(alone.scores, people.scores)
    kinds[0]["keypoints"] = names[::-1]
    rows[0]["keypoints"] = marks[::-1].ravel().tolist()
    turned = read_people(write({"images": images, "annotations": rows, "categories": kinds}))
    assert np.array_equal(turned.keypoints, people.keypoints, equal_nan=True), "joints are found by their names"


def test_coco_results_have_scores(write):
    lost = flat()
    lost[30:33] = [0, 0, 0]
    people = read_people(write([{"image_id": 42, "category_id": 1, "keypoints": lost, "score": 0.7}]))
    assert people.frames == (42,) and np.isnan(people.keypoints[0, 10]).all() and people.scores[0, 10] == 0
    assert np.allclose(people.scores[0, :10], 0.9)


def test_ultralytics(write):
    xs, ys = COCO.T.tolist()
    xs[10] = ys[10] = 0.0  # how it hides what it doubts, whatever the confidence says
    columns = {"x": xs, "y": ys, "visible": [0.9] * 10 + [0.3] + [0.9] * 6}
    one = {"name": "person", "class": 0, "confidence": 0.9, "track_id": 3, "keypoints": columns}
    one["box"] = {"x1": 300, "y1": 90, "x2": 780, "y2": 670}
    people = read_people(write([one]))
    assert people.person.tolist() == ["3"] and people.scores[0, 10] == 0 and noted(people, "confidence")
    assert read_people(write([[one], [], [one]])).frame.tolist() == [0, 2]


def test_mediapipe_needs_the_size(write):
    shares = points_of("blazepose_33") / SIZE
    marks = [{"x": x, "y": y, "z": 0.1, "visibility": 0.8} for x, y in shares.tolist()]
    film = write({"frames": [{"frame": 2, "landmarks": marks}, {"frame": 3, "landmarks": []}]})
    with pytest.raises(ConfigError, match="image size"):
        read_people(film)
    people = read_people(film, image_size=(1280, 720))
    assert people.skeleton == "blazepose_33" and people.frames == (2, 3) and np.allclose(people.scores, 0.8)
    assert np.allclose(people.keypoints[0], points_of("blazepose_33"), atol=0.01) and noted(people, "fields", "z")


def deeplabcut(names, individuals=None, suffix=",x,y,likelihood"):
    whole = [name for _ in individuals or [0] for name in names for _ in range(3)]
    rows = ["scorer" + ",me" * len(whole)]
    if individuals:
        rows.append("individuals," + ",".join(one for one in individuals for _ in range(3 * len(names))))
    return [*rows, "bodyparts," + ",".join(whole), "coords" + suffix * (len(whole) // 3)]


def test_deeplabcut(write):
    row = ",".join(f"{x},{y},0.9" for x, y in COCO)
    names = ["LeftEye" if name == "left_eye" else name for name in SKELETONS["coco_17"].joints]
    people = read_people(write("\n".join([*deeplabcut(names), f"0,{row}", "1" + "," * 51, f"2,{row}"]), "a.csv"))
    assert people.frame.tolist() == [0, 2] and people.frames == (0, 1, 2) and np.allclose(people.keypoints, COCO)
    both = [*deeplabcut(names, ["anna", "bo"]), f"labeled-data/v/img007.png,{row},{row}"]
    people = read_people(write("\n".join(both), "a.csv"))
    assert people.person.tolist() == ["anna", "bo"] and people.frames == (7,) and people.image[0].endswith("img007.png")
    few = [*deeplabcut(["snout", "left_wrist", "right_wrist"]), "0,9,9,1,10,10,1,20,20,1"]
    with pytest.raises(SkeletonError, match="snout"):
        read_people(write("\n".join(few), "a.csv"))
    people = read_people(write("\n".join(few), "a.csv"), "coco_17")
    assert np.isfinite(people.keypoints[0, :, 0]).nonzero()[0].tolist() == [9, 10] and noted(people, "snout")


def test_deeplabcut_hdf5(tmp_path):
    (tmp_path / "a.h5").touch()
    try:
        import h5py  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install h5py"):
            read_people(tmp_path / "a.h5")
        return
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("tables")
    columns = pandas.MultiIndex.from_product([["me"], SKELETONS["coco_17"].joints, ["x", "y", "likelihood"]])
    rows = np.c_[COCO, np.full(17, 0.9)].reshape(1, -1)
    pandas.DataFrame(rows, columns=columns).to_hdf(tmp_path / "a.h5", key="df_with_missing", format="table", mode="w")
    assert np.allclose(read_people(tmp_path / "a.h5").keypoints, COCO)


def test_videopose3d_is_read_and_nothing_is_run(tmp_path):
    clip = np.stack([COCO, COCO + 1]).astype(np.float32)
    content, about = {"S1": {"walk": [clip, clip]}}, {"layout_name": "coco", "num_joints": 17}
    np.savez_compressed(tmp_path / "a.npz", positions_2d=content, metadata=about)
    people = read_people(tmp_path / "a.npz")
    assert (
        people.skeleton == "coco_17"
        and people.frames == (0, 1)
        and sorted({*people.person})
        == [
            "S1/walk/0",
            "S1/walk/1",
        ]
    )
    assert np.array_equal(people.keypoints[people.person == "S1/walk/1"], clip)
    touched = tmp_path / "touched"
    for name, argument in (("a", f"touch {touched}"), ("b", "exit")):
        code = f"cposix\nsystem\n(S'{argument}'\ntR."
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:
            header = np.lib.format.magic(1, 0), {"descr": "|O", "fortran_order": False, "shape": ()}
            with archive.open("positions_2d.npy", "w") as file:
                np.lib.format.write_array_header_1_0(file, header[1])
                file.write(code.encode())
        with pytest.raises(DataFileError, match="posix.system.*not run"):
            read_people(tmp_path / f"{name}.npz")
    assert not touched.exists()


@pytest.mark.parametrize("form", ["npz", "npy", "safetensors", "json"])
def test_our_own_files(form, tmp_path):
    rows = np.stack([np.c_[COCO, np.full(17, 0.5)]] * 2)
    file = tmp_path / f"a.{form}"
    if form == "npz":
        np.savez(file, keypoints=rows, frame=[3, 8], person=["a", "a"])
    elif form == "npy":
        np.save(file, rows[:, None])  # frames × people
    elif form == "safetensors":
        from safetensors.numpy import save_file

        save_file({"keypoints": rows, "frame": np.array([3, 8])}, file)
    else:
        columns = {"frame": [3, 8], "person": ["a", "a"], "skeleton": "coco_17"}
        file.write_text(json.dumps({"keypoints": rows.tolist(), **columns}))
    people = read_people(file, None if form == "json" else "coco_17")
    assert people.frame.tolist() == ([0, 1] if form == "npy" else [3, 8]) and np.allclose(people.scores, 0.5)
    assert np.allclose(people.keypoints, COCO) and people.person.tolist() == (
        ["a"] * 2 if form[-1] in "zn" else ["0"] * 2
    )


def test_a_table_with_frames_is_a_clip(write):
    lines = [f"{f},{p},{j},{x + f},{y},0.9" for f in (0, 4) for p in "ab" for j, (x, y) in enumerate(COCO)]
    people = read_people(write("\n".join(["frame,person,joint,x,y,score", *lines]), "a.csv"), "coco_17")
    assert people.frame.tolist() == [0, 0, 4, 4] and people.person.tolist() == ["a", "b", "a", "b"]
    assert np.allclose(people.keypoints[3], COCO + [4, 0])
    with pytest.raises(DataFileError, match="twice"):
        read_people(write("\n".join(["time,person,joint,x,y,score", *lines]), "a.csv"), "coco_17")


@pytest.mark.parametrize("numbers, words", [(range(1, 18), "1 to 17"), (range(16), "16 (right_ankle)")])
def test_joints_from_one_and_a_missing_last_joint(write, numbers, words):
    lines = [f"{n},{x},{y}" for n, (x, y) in zip(numbers, COCO)]
    file = write("\n".join(["joint,x,y", *lines]), "a.csv")
    people = read_people(file, "coco_17")
    assert noted(people, words) and np.allclose(people.keypoints[0, :16], COCO[:16])
    with pytest.raises(SkeletonError, match="last ones may be missing"):
        read_people(file)


def test_a_clip_with_an_empty_frame_and_a_missing_joint(write):
    rows = [COCO.tolist(), [], COCO.tolist()]
    rows[2] = [*rows[2][:9], [None, None], *rows[2][10:]]
    people = read_people(write({"keypoints": rows}), "coco_17")
    assert people.frames == (0, 1, 2) and people.frame.tolist() == [0, 2] and np.isnan(people.keypoints[1, 9]).all()
    assert noted(people, "nobody: 1", "9 (left_wrist) in 1", "no scores")


@pytest.mark.parametrize(
    "content, skeleton, error, words",
    [
        ({"keypoints": COCO.tolist()}, None, SkeletonError, "h36m_17, coco_17"),
        ({"keypoints": COCO.tolist()}, "mpii_16", ShapeError, "16 joints of mpii_16, got 17"),
        ({"keypoints": COCO[:15].tolist()}, None, SkeletonError, "no joint set"),
        ({"keypoints": [COCO.tolist()] * 2, "scores": [[1, 1]] * 17}, "coco_17", DataFileError, "people, joints"),
        ({"keypoints": COCO.tolist(), "scores": [4.2] * 17}, "coco_17", ConfigError, "divide"),
        ({"keypoints": COCO.tolist(), "scores": [2] * 17}, "coco_17", ConfigError, "visibility flags"),
        ({"keypoints": COCO.tolist(), "confidence": [1] * 17}, "coco_17", DataFileError, "'confidence'"),
        ({"keypoints": (COCO / 1280).tolist()}, "coco_17", ConfigError, "width and height"),
        ({"keypoints": (COCO / 640 - 1).tolist()}, "coco_17", ConfigError, "-1 to 1"),
        ({"keypoints": [*COCO.tolist()[:16], [float("inf"), 1]]}, "coco_17", NotFiniteError, "finite"),
        ({"people": [{"pose_keypoints_2d": flat()[:45]}]}, None, SkeletonError, "15 joints"),
        ({"people": [{"face": []}]}, None, DataFileError, "OpenPose"),
        ([{"bbox": [1, 2, 3, 4]}], None, DataFileError, "AlphaPose"),
    ],
)
def test_what_cannot_be_decided_is_refused(write, content, skeleton, error, words):
    with pytest.raises(error, match=f"a.json: .*{words}"):
        read_people(write(content), skeleton)


def test_people_who_are_not_in_the_frame_keep_their_place(write):
    people = read_people(write({"people": [{}, {"pose_keypoints_2d": flat("halpe_26")}, {"pose_keypoints_2d": []}]}))
    assert people.person.tolist() == ["1"] and people.skeleton == "halpe_26" and noted(people, "2 person(s)")


def test_what_is_asked_for_is_noted_where_the_format_says_otherwise(write):
    people = read_people(write([{"image_id": 1, "keypoints": flat()}]), "h36m_17")
    assert people.skeleton == "h36m_17" and noted(people, "as asked")


def test_fields_are_not_ignored_in_silence(write):
    people = read_people(write({"keypoints": COCO.tolist(), "camera": "left"}), "coco_17")
    assert noted(people, "camera")


def test_scores_of_other_scales():
    assert map_scores(np.array([0, 55.0, 100]))[0].tolist() == [0, 0.55, 1]
    assert map_scores(np.array([-0.02, 1.0]))[0].tolist() == [0, 1]
    for wrong in ([200.0], [-3.0, 0.5], [7.0, 8.0]):
        with pytest.raises(ConfigError, match="scores"):
            map_scores(np.array(wrong))


def test_all_names_of_joint_sets_are_found():
    for body in SKELETONS.values():
        assert match_joints(body.joints)[:2] == (body.name, [*range(body.num_joints)])


@pytest.mark.parametrize(
    "content", ["", "{", "null", "3", '"a"', "[[[]]]", '{"keypoints": {}}', "[{}]", '{"people": 3}']
)
@pytest.mark.parametrize("ending", ["json", "csv", "txt", "npz", "npy", "safetensors", "h5"])
def test_nonsense_is_refused_by_type(write, content, ending):
    try:
        people = read_people(write(content, f"a.{ending}"), "coco_17")
    except ProbposeError as error:
        assert f"a.{ending}" in str(error) and "keypoints" in str(error)
    else:
        assert len(people) == 0, "an empty file of labels is a frame without anybody"


@pytest.mark.parametrize("kind", ["json", "npz"])
def test_rows_that_lie_on_each_other_are_a_clip(write, tmp_path, kind):
    def saved(rows):
        rows = np.array(rows)
        if kind == "json":
            return write(
                {"keypoints": [[[None if np.isnan(x) else x for x in p] for p in one] for one in rows.tolist()]}
            )
        np.savez(tmp_path / "a.npz", keypoints=rows)
        return tmp_path / "a.npz"

    walk = [COCO + [6 * k, 0] for k in range(4)]
    walk[2] = np.where(np.arange(17)[:, None] == 9, np.nan, walk[2])
    clip = read_people(saved(walk), "coco_17")
    assert clip.frame.tolist() == [0, 1, 2, 3] and set(clip.person) == {"0"} and noted(clip, "frames of one person")
    crowd = read_people(saved([COCO, COCO + [150, 20], COCO + [0, 4]]), "coco_17")
    assert set(crowd.frame) == {0} and crowd.person.tolist() == ["0", "1", "2"] and noted(crowd, "people of one image")


def test_refusals_name_the_option_of_the_command_line(write):
    with pytest.raises(SkeletonError, match="--skeleton"):
        read_people(write({"keypoints": COCO.tolist()}))
    with pytest.raises(SkeletonError, match="--skeleton"):
        read_people(write("joint,x,y\n" + "".join(f"{k},{k},{k * k}\n" for k in range(16)), "a.csv"))
    with pytest.raises(ConfigError, match="--image-size"):
        read_people(write({"keypoints": (COCO / SIZE).tolist()}), "coco_17")


def test_sixteen_joints_are_mpiis_where_none_can_be_missing(write):
    points = points_of("mpii_16")
    assert read_people(write({"keypoints": points.tolist()})).skeleton == "mpii_16"
