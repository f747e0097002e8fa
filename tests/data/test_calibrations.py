"Cameras from files: one rig in every layout is one rig; damaged files and impossible cameras are refused."

import dataclasses
import json
import math

import numpy as np
import pytest
import roma
import torch

from probpose.core.errors import ConfigError, DataFileError, ProbposeError
from probpose.data.calibrations import make_camera, read_calibration, resize_camera
from probpose.geometry.cameras import look_at_camera


def make_rig():
    "Two cameras with lenses."
    lens, focal = torch.tensor([-0.05, 0.14, 0.0006, 0.0007, 0.0]).double(), torch.tensor([900.0, 905.0]).double()
    places = {"left": [2.0, 1.5, 3.0], "right": [-1.0, 2.0, 3.5]}
    made = {
        name: look_at_camera(
            torch.tensor(place).double(), torch.zeros(3).double(), focal, torch.tensor([511.0, 380.5]).double()
        )
        for name, place in places.items()
    }
    return {name: dataclasses.replace(one, distortion=lens, image_size=(1024, 768)) for name, one in made.items()}


RIG = make_rig()


def intrinsics(camera):
    (fx, fy), (cx, cy) = camera.focal.tolist(), camera.centre.tolist()
    return [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]


def qualisys(rig):
    entries = ""
    for name, one in rig.items():
        axes, (x, y, z) = one.rotation.clone(), (1000 * one.position).tolist()
        axes[1:] *= -1
        turn = " ".join(f'r{i + 1}{j + 1}="{float(axes[i, j])!r}"' for i in range(3) for j in range(3))
        numbers = dict(zip(("focalLengthU", "focalLengthV"), (64 * one.focal).tolist()))
        numbers |= dict(zip(("centerPointU", "centerPointV"), (64 * (one.centre + torch.tensor([8, 4]))).tolist()))
        lens = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2")
        numbers |= dict(zip(lens, one.distortion.tolist()), sensorMaxU=64 * 1100.0, sensorMaxV=64 * 800.0, skew=0.0)
        inner = " ".join(f'{key}="{value!r}"' for key, value in numbers.items())
        window = '<fov_video left="8" top="4" right="1031" bottom="771"/>'
        entries += f'<camera serial="{name}">{window}<transform {turn} x="{x!r}" y="{y!r}" z="{z!r}"/>'
        entries += f"<intrinsic {inner}/></camera>"
    return f"<?xml version='1.0' encoding='ASCII'?>\n<calibration><cameras>{entries}</cameras></calibration>"


def matrices(rig, whole):
    "What programs hand to cv2.FileStorage: the rotation as a matrix or as Rodrigues' vector."
    for name, one in rig.items():
        turn = one.rotation if whole else roma.rotmat_to_rotvec(one.rotation)[:, None]
        parts = {"K": intrinsics(one), "dist": one.distortion[None], "Rot" if whole else "R": turn}
        parts["T"] = one.translation[:, None]
        for key, value in parts.items():
            yield f"{key}_{name}", np.asarray(value, dtype=np.float64)


def opencv_yaml(rig):
    text = "%YAML:1.0\n---\n"
    for key, value in matrices(rig, False):
        data = ",\n       ".join(repr(float(x)) for x in value.flat)
        rows, columns = value.shape
        text += f"{key}: !!opencv-matrix\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {data} ]\n"
    return text + "".join(f"H_{name}: 768\nW_{name}: 1024\n" for name in rig)


def opencv_xml(rig):
    text = ""
    for key, value in matrices(rig, True):
        data = " ".join(repr(float(x)) for x in value.flat)
        rows, columns = value.shape
        text += f'<{key} type_id="opencv-matrix"><rows>{rows}</rows><cols>{columns}</cols><dt>d</dt>'
        text += f"<data>\n  {data}</data></{key}>\n"
    return f'<?xml version="1.0"?>\n<opencv_storage>\n{text}</opencv_storage>\n'


def opencv_json(rig):
    content = {}
    for key, value in matrices(rig, False):
        rows, columns = value.shape
        content[key] = {"type_id": "opencv-matrix", "rows": rows, "cols": columns, "dt": "d"}
        content[key]["data"] = value.flatten().tolist()
    return json.dumps(content)


def pose2sim(rig):
    text = ""
    for name, one in rig.items():
        text += f'[int_{name}]\nname = "{name}"\nsize = [ 1024.0, 768.0]\nmatrix = {intrinsics(one)}\n'
        text += f"distortions = {one.distortion.tolist()[:4]}\n"
        text += f"rotation = {roma.rotmat_to_rotvec(one.rotation).tolist()}\n"
        text += f"translation = {one.translation.tolist()}\nfisheye = false\n\n"
    return text + "[metadata]\nadjusted = false\nerror = 0.0\n"


LAYOUTS = {
    "Calib.qca.txt": qualisys,
    "rig.yml": opencv_yaml,
    "rig.xml": opencv_xml,
    "rig.json": opencv_json,
    "Calib.toml": pose2sim,
}


@pytest.fixture(params=LAYOUTS)
def file(request, tmp_path):
    path = tmp_path / request.param
    path.write_text(LAYOUTS[request.param](RIG))
    return path


def test_one_rig_in_every_layout_is_one_rig(file):
    read = read_calibration(file)
    assert list(read) == list(RIG)
    for name, camera in RIG.items():
        for field in ("focal", "centre", "distortion", "rotation", "translation"):
            assert torch.allclose(getattr(read[name], field), getattr(camera, field), atol=1e-6, rtol=0), field
    points = torch.rand(4, 5, 3).double() - 0.5
    for name, camera in RIG.items():
        one = read[name]
        assert (one.project(one.to_camera(points)) - camera.project(camera.to_camera(points))).abs().max() < 1e-5


def test_a_file_that_was_cut_anywhere_is_refused_or_whole(file):
    text = file.read_text()
    for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.85):
        file.write_text(text[: int(share * len(text))])
        try:
            read = read_calibration(file)
        except ProbposeError as error:
            assert file.name in str(error)
        else:  # a layout of tables may end between two cameras
            assert file.suffix == ".toml" and set(read) < set(RIG)


def test_a_length_in_another_unit_is_noticed(tmp_path):
    far = {name: dataclasses.replace(one, translation=1000 * one.translation) for name, one in RIG.items()}
    for name, layout in LAYOUTS.items():
        file = tmp_path / name
        if layout is qualisys:  # metres in a file of millimetres
            near = {name: dataclasses.replace(one, translation=one.translation / 1000) for name, one in RIG.items()}
            file.write_text(layout(near))
            read, unit = near, "m"
        else:
            file.write_text(layout(far))
            read, unit = far, "mm"
        with pytest.raises(ConfigError, match="millimetres"):
            read_calibration(file)
        found = read_calibration(file, unit=unit)
        assert torch.allclose(found["left"].position, RIG["left"].position), read
    with pytest.raises(ConfigError, match="inch"):
        read_calibration(file, unit="inch")


def test_pixels_in_another_unit_are_noticed(tmp_path):
    file = tmp_path / "a.qca.txt"
    small = {name: dataclasses.replace(one, focal=one.focal / 64) for name, one in RIG.items()}
    file.write_text(qualisys(small))
    with pytest.raises(ConfigError, match="focal length"):
        read_calibration(file)


@pytest.mark.parametrize(
    "change, match",
    [
        (dict(rotation=-np.eye(3)), "rotation"),
        (dict(rotation=2 * np.eye(3)), "rotation"),
        (dict(rotation="north"), "numbers"),
        (dict(translation=[0, 0, math.nan]), "finite"),
        (dict(translation=[0, 0]), "three numbers"),
        (dict(translation=[0, 0, 3000]), "millimetres"),
        (dict(distortion=[0.1] * 8), "five coefficients"),
        (dict(matrix=[[14, 0, 8], [0, 14, 6], [0, 0, 1]]), "pixels"),
        (dict(matrix=[[900, 0, 5110], [0, 900, 383], [0, 0, 1]]), "principal point"),
        (dict(matrix=[[900, 0, 511], [0, 500, 383], [0, 0, 1]]), "square pixels"),
        (dict(matrix=[[900, 50, 511], [0, 900, 383], [0, 0, 1]]), "skew"),
        (dict(matrix=[[900, 0], [0, 900]]), "3 × 3"),
        (dict(size=(0, 0)), "picture"),
    ],
)
def test_impossible_cameras_are_refused_by_name(change, match):
    good = dict(matrix=[[900, 0, 511], [0, 900, 383], [0, 0, 1]], distortion=[0.1, 0, 0, 0], rotation=np.eye(3))
    good |= dict(translation=[0, 0, 3], size=(1024, 768))
    assert make_camera("west", **good).distortion.tolist() == [0.1, 0, 0, 0, 0]
    with pytest.raises(ConfigError, match=match) as raised:
        make_camera("west", **good | change)
    assert "west" in str(raised.value)


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.toml", "once upon a time"),
        ("a.txt", "once upon a time"),
        ("a.toml", '[cam]\nname = "a"\nsize = [1, 2]\n'),
        ("a.toml", "[metadata]\nerror = 0.0\n"),
        ("a.toml", pose2sim(RIG).replace("fisheye = false", "fisheye = true")),
        ("a.toml", pose2sim(RIG).replace("rotation = [", "rotation = [1.0, ")),
        ("a.json", "[1, 2]"),
        ("a.json", '{"K_1": {"rows": 3, "cols": 3, "data": [1, 2]}}'),
        ("a.json", '{"camera_matrix": [[900, 0, 511], [0, 900, 383], [0, 0, 1]]}'),
        ("a.yml", "%YAML:1.0\n---\n"),
        ("a.xml", "<opencv_storage></opencv_storage>"),
        ("a.xml", "<html></html>"),
        ("a.qca.txt", qualisys(RIG).replace("focalLengthU", "focalU")),
        ("a.qca.txt", qualisys(RIG).replace('r11="', 'r11="x')),
        ("a.qca.txt", "<calibration><cameras/></calibration>"),
    ],
)
def test_what_is_no_calibration_is_refused_with_its_path(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises((ConfigError, DataFileError), match=name):
        read_calibration(tmp_path / name)


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(DataFileError):
            read_calibration(path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFileError):
        read_calibration(tmp_path / "bytes.toml")


def test_a_scaled_and_centred_picture_has_the_camera_of_its_size():
    camera = RIG["left"]
    points = torch.rand(1, 6, 3).double() - 0.5
    seen = camera.project(camera.to_camera(points))
    small = resize_camera(camera, (1024, 1000))  # bars above and below
    assert torch.allclose(small.project(small.to_camera(points)), seen + torch.tensor([0.0, 116.0]))
    half = resize_camera(camera, (512, 384))
    assert torch.allclose(half.project(half.to_camera(points)), seen / 2)
    with pytest.raises(ConfigError):
        resize_camera(camera, (0, 10))
