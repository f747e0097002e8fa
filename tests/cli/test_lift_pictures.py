"`probpose lift` on photographs, folders and videos that the project renders itself."

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from probpose.geometry.conversions import convert
from probpose.vision.blazepose import BlazePose

LIMBS = list(range(6)) + list(range(10, 16))  # of MPII's joints, those that COCO has


@pytest.fixture(scope="module")
def person(rendered):
    "A picture (512, 512, 3) of somebody, and MPII's joints (16, 2) in it."
    for module in ("ai_edge_litert", "av"):
        pytest.importorskip(module)
    images, joints = rendered
    return images[0].numpy(), convert(joints[:1], "coco_17", "mpii_16", approximate=True)[0].numpy()


@pytest.fixture
def photo(person, tmp_path):
    from PIL import Image

    Image.fromarray(person[0]).save(tmp_path / "photo.jpg", quality=95)
    return tmp_path / "photo.jpg"


def walk(image, frames=12, step=6):
    "Frames in which somebody moves to the right."
    return [np.roll(image, step * k, 1) for k in range(frames)]


def off(found, row, joints):
    "The median distance of written key points from true joints, as a share of the picture."
    return np.nanmedian(np.linalg.norm(found["keypoints"][row] - joints, axis=-1)[LIMBS]) / 512


def test_a_photograph(run, photo, person, tmp_path):
    done = run("lift", photo, "--n", 20, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "1 person in 1 of 1 picture" in done.output, done.output
    with np.load(tmp_path / "x.npz") as found:
        assert found["poses"].shape == (20, 1, 17, 3) and found["radii"].shape == (1, 17, 2)
        assert off(found, 0, person[1]) < 0.03
        widths = np.sqrt(np.linalg.eigvalsh(found["covariance"][0]))
        assert (widths > 1).all() and (widths < 100).all()
        x0, y0, x1, y1 = found["box"][0]
        assert x0 < person[1][:, 0].min() + 30 and y1 > person[1][:, 1].max() - 30 and x1 <= 512
        assert found["image"].tolist() == ["photo.jpg"] and found["frame"].tolist() == [0]
        assert str(found["source"]) == str(photo) and found["missing"].tolist() == [""]
        assert float(found["reprojection_percent"][0]) < 8.4 and "fps" not in found.files


def test_a_folder_of_pictures(run, photo, person, tmp_path):
    from PIL import Image

    folder = tmp_path / "holiday"
    folder.mkdir()
    for name, image in (("img10.png", person[0][:, ::-1]), ("img2.png", person[0]), ("img3.png", person[0] * 0 + 128)):
        Image.fromarray(np.ascontiguousarray(image)).save(folder / name)
    (folder / "img4.jpg").write_text("no picture")
    (folder / "notes.md").write_text("notes")
    done = run("lift", folder, "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0, done.output
    assert "1 of 5 files are no pictures and were left alone: notes.md" in done.output
    assert "img4.jpg: expected a picture" in done.output and "2 people in 2 of 4 picture" in done.output
    found = np.load(tmp_path / "x.npz")
    assert found["image"].tolist() == ["img2.png", "img10.png"] and found["frame"].tolist() == [0, 3]


def test_a_folder_of_keypoints_beside_pictures_is_one_of_keypoints(run, photo, weights, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "a_0_keypoints.json").write_text(json.dumps({"version": 1.3, "people": []}))
    (folder / "a_0.jpg").write_bytes(photo.read_bytes())
    done = run("lift", folder, "--model", weights, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "nobody to lift in 1 frame" in done.output, done.output


def test_a_video(run, person, tmp_path, write_video):
    video = write_video(tmp_path / "walk.mp4", walk(person[0]))
    done = run("lift", video, "--n", 3, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "each frame was lifted by itself" in done.output, done.output
    assert "1 person in 12 of 12 frame" in done.output
    with np.load(tmp_path / "x.npz") as found:
        assert found["frame"].tolist() == list(range(12)) and set(found["person"]) == {0} and found["fps"] == 25
        for row in range(12):
            assert off(found, row, person[1] + [6 * row, 0]) < 0.04
        again = tmp_path / "again.npz"
        assert run("lift", video, "--n", 3, "--out", again).exit_code == 0
        assert (np.load(again)["poses"] == found["poses"]).all(), "the seed decides"
    motion = run("lift", video, "--out", tmp_path / "x.bvh")
    assert motion.exit_code == 0 and "Frame Time: 0.04" in (tmp_path / "x.bvh").read_text()


def test_telephones_film_sideways(run, person, tmp_path, write_video):
    lying = [np.rot90(frame, 1) for frame in walk(person[0], 3)]
    plain, turned = (write_video(tmp_path / f"{turn}.mp4", lying, rotation=turn) for turn in (0, -90))
    from probpose.vision.video import Video

    for path, true in ((plain, lying), (turned, walk(person[0], 3))):
        (first, *_) = Video(path)
        assert np.abs(first.numpy().astype(int) - true[0]).mean() < 8
    assert run("lift", turned, "--n", 2, "--out", tmp_path / "x.npz").exit_code == 0
    assert off(np.load(tmp_path / "x.npz"), 0, person[1]) < 0.04


def test_two_people_keep_their_numbers(run, rendered, person, tmp_path, write_video):
    left, right = (image[:, 100:-100].numpy() for image in rendered[0])
    frames = [np.concatenate([np.roll(left, 2 * k, 1), np.roll(right, -2 * k, 1)], 1) for k in range(10)]
    done = run("lift", write_video(tmp_path / "two.mp4", frames), "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0, done.output
    found = np.load(tmp_path / "x.npz")
    assert len(found["frame"]) == 20 and set(found["person"]) == {0, 1}
    sides = [{bool(box[0] < 250) for box in found["box"][found["person"] == number]} for number in (0, 1)]
    assert len(sides[0]) == len(sides[1]) == 1 and sides[0] != sides[1]


def test_a_video_that_was_cut_short(run, person, tmp_path, write_video):
    whole = write_video(tmp_path / "a.mp4", walk(person[0]), options={"movflags": "faststart"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(0.7 * len(whole))])
    done = run("lift", tmp_path / "cut.mp4", "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "damaged or cut short" in done.output, done.output
    assert 3 < len(np.load(tmp_path / "x.npz")["frame"]) < 12
    (tmp_path / "cut.mp4").write_bytes(write_video(tmp_path / "b.mp4", walk(person[0])).read_bytes()[:20_000])
    done = run("lift", tmp_path / "cut.mp4", "--out", tmp_path / "y.npz")
    assert done.exit_code == 2 and "DataFileError" in done.output and "index" in done.output, done.output


def test_ctrl_c_in_a_video_keeps_what_was_done(run, person, tmp_path, monkeypatch, write_video):
    seen, lock = [], threading.Lock()

    def interrupt(self, image, *rest, read=BlazePose._read):
        with lock:
            seen.append(1)
            if len(seen) > 60:
                raise KeyboardInterrupt
        return read(self, image, *rest)

    monkeypatch.setattr(BlazePose, "_read", interrupt)
    video = write_video(tmp_path / "walk.mp4", walk(person[0], 90, 1))
    done = run("lift", video, "--n", 100, "--out", tmp_path / "out" / "x.npz")
    assert done.exit_code == 130 and "interrupted" in done.output and "holds the first" in done.output, done.output
    frames = np.load(tmp_path / "out" / "x.npz")["frame"]
    assert 20 < len(frames) <= 60 and frames.tolist() == list(range(len(frames)))
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["x.npz"]
    seen.extend([1] * 100)
    done = run("lift", video, "--n", 2, "--out", tmp_path / "y.npz")
    assert done.exit_code == 130 and not (tmp_path / "y.npz").exists(), "nothing was done"


def test_more_than_can_be_kept(run, person, photo, tmp_path, monkeypatch, write_video):
    video = write_video(tmp_path / "walk.mp4", walk(person[0]))
    monkeypatch.setattr("probpose.cli.lift._LARGEST", 250_000)
    done = run("lift", video, "--n", 200, "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "--n 102" in done.output and not (tmp_path / "x.npz").exists(), done.output
    monkeypatch.setattr("probpose.vision.sources.VideoFrames.__init__", _without_length)
    done = run("lift", video, "--n", 200, "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "alone" in done.output, done.output
    assert len(np.load(tmp_path / "x.npz")["frame"]) == 6
    assert run("lift", video, "--n", 200, "--out", tmp_path / "x.bvh").exit_code == 0


def _without_length(self, path):
    from probpose.vision.video import Video

    self.path, self.video = path, Video(path)
    self.length, self.fps, self.notes = None, self.video.fps, self.video.notes


@pytest.mark.parametrize("form", ["csv", "json", "npz"])
def test_boxes_from_a_table(form, run, photo, person, tmp_path):
    low, high = person[1].min(0) - 20, person[1].max(0) + 20
    rows = [{"image": "photo.jpg"} | dict(zip(("x0", "y0", "x1", "y1"), map(float, (*low, *high))))]
    table = tmp_path / f"boxes.{form}"
    if form == "csv":
        table.write_text(",".join(rows[0]) + "\n" + ",".join(map(str, rows[0].values())) + "\n")
    elif form == "json":
        table.write_text(json.dumps(rows))
    else:
        np.savez(table, box=[[*low, *high]], image=["photo.jpg"])
    done = run("lift", photo, "--boxes", table, "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0, done.output
    found = np.load(tmp_path / "x.npz")
    assert off(found, 0, person[1]) < 0.04 and np.abs(found["box"][0] - [*low, *high]).max() < 0.01


def test_boxes_that_fit_nothing(run, photo, person, tmp_path, write_video):
    table = tmp_path / "boxes.csv"
    for text, words in (
        ("x0,y0,x1,y1,image\n1,2,100,200,other.jpg\n", "others: other.jpg"),
        ("x0,y0,x1\n1,2,100\n", "no y1"),
        ("x0,y0,x1,y1\n100,100,50,50\n", "x0 < x1"),
        ("x0,y0,x1,y1\n9000,9000,9100,9100\n", "touch the image"),
        ("x0,y0,x1,y1\n1,2,a,200\n", "cannot be read"),
    ):
        table.write_text(text)
        done = run("lift", photo, "--boxes", table, "--n", 2, "--out", tmp_path / "x.npz")
        assert done.exit_code == 2 and words in done.output, done.output
    table.write_text("x0,y0,x1,y1\n1,2,100,200\n")
    video = write_video(tmp_path / "walk.mp4", walk(person[0], 2))
    done = run("lift", video, "--boxes", table, "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "frame" in done.output


def test_saved_heatmaps_of_boxes(run, photo, person, tmp_path):
    from probpose.evidence.gaussians import Gaussians, render_gaussians
    from probpose.geometry.crops import Crop

    low, high = person[1].min(0) - 20, person[1].max(0) + 20
    table = tmp_path / "boxes.csv"
    table.write_text("x0,y0,x1,y1\n" + ",".join(map(str, (*low, *high))) + "\n")
    crop = Crop(torch.tensor((low + high) / 2).float(), torch.tensor(1.25 * (high - low).max()).float())
    coco = torch.from_numpy(person[1])[[9, 9, 9, 9, 9, 13, 12, 14, 11, 15, 10, 3, 2, 4, 1, 5, 0]]
    spread = torch.eye(2).expand(17, 2, 2) * 4
    cells = Gaussians(torch.full((17,), 0.8), crop.to_map(coco), spread, torch.ones(17).bool(), torch.zeros(17))
    np.savez(tmp_path / "maps.npz", heatmaps=render_gaussians(cells, 64)[None].numpy())
    words = ("lift", photo, "--detector", f"saved:{tmp_path / 'maps.npz'}", "--n", 2, "--out", tmp_path / "x.npz")
    done = run(*words, "--boxes", table)
    assert done.exit_code == 0, done.output
    assert off(np.load(tmp_path / "x.npz"), 0, person[1]) < 0.005
    done = run(*words)
    assert done.exit_code == 2 and "--boxes" in done.output
    table.write_text("x0,y0,x1,y1\n1,2,100,200\n1,2,100,200\n")
    done = run(*words, "--boxes", table)
    assert done.exit_code == 2 and "as many sets of maps" in done.output, done.output


def test_detectors_that_are_not_there(run, photo, tmp_path):
    for name, words in (("vitpose:nowhere", "nowhere"), ("openpose", "vitpose:FOLDER"), ("saved:none.npz", "none.npz")):
        done = run("lift", photo, "--detector", name, "--out", tmp_path / "x.npz")
        assert done.exit_code == 2 and "Error" in done.output and words in done.output, done.output


def test_options_of_keypoints_are_refused_beside_pictures(run, photo, tmp_path):
    done = run("lift", photo, "--skeleton", "coco_17", "--image-size", "10x10", "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "--skeleton, --image-size" in done.output, done.output


def test_nobody_is_a_line_and_no_file(run, tmp_path):
    pytest.importorskip("ai_edge_litert")
    from PIL import Image

    Image.new("RGB", (300, 200), (90, 90, 90)).save(tmp_path / "a.png")
    done = run("lift", tmp_path / "a.png", "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "nobody was found in 1 picture" in done.output and "--boxes" in done.output
    assert not (tmp_path / "x.npz").exists()


def test_a_small_person_is_pointed_out(run, person, tmp_path):
    from PIL import Image

    wide = Image.new("RGB", (2600, 900), tuple(person[0][0, 0].tolist()))
    wide.paste(Image.fromarray(person[0]).resize((300, 300)), (1100, 300))
    wide.save(tmp_path / "a.png")
    done = run("lift", tmp_path / "a.png", "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and ("crop the pictures" in done.output or "nobody" in done.output), done.output


def test_what_is_no_picture(run, tmp_path):
    pytest.importorskip("ai_edge_litert")
    for name, content in (("a.jpg", b"no picture"), ("a.png", b""), ("a.mp4", b"no video"), ("a.unknown", b"?")):
        (tmp_path / name).write_bytes(content)
        done = run("lift", tmp_path / name, "--out", tmp_path / "x.npz")
        assert done.exit_code == 2 and "DataFileError" in done.output, (name, done.output)


def test_content_decides_where_the_ending_says_nothing(run, photo, person, tmp_path, write_video):
    (tmp_path / "picture").write_bytes(photo.read_bytes())
    (tmp_path / "clip").write_bytes(write_video(tmp_path / "w.mp4", walk(person[0], 2)).read_bytes())
    for name, words in (("picture", "1 picture"), ("clip", "2 frame")):
        done = run("lift", tmp_path / name, "--n", 2, "--out", tmp_path / "x.npz")
        assert done.exit_code == 0 and words in done.output, done.output


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_the_first_picture_of_an_animation(form, run, person, tmp_path):
    from PIL import Image

    frames = [Image.fromarray(frame) for frame in walk(person[0], 3, 40)]
    frames[0].save(tmp_path / f"a.{form}", save_all=True, append_images=frames[1:], duration=40)
    done = run("lift", tmp_path / f"a.{form}", "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "first of 3 pictures" in done.output, done.output
    assert off(np.load(tmp_path / "x.npz"), 0, person[1]) < 0.04


@pytest.mark.parametrize("form", ["CMYK", "L", "P", "RGBA", "I;16", "EXIF"])
def test_pictures_of_all_kinds(form, run, person, tmp_path):
    from PIL import Image

    image, options = Image.fromarray(person[0]), {}
    if form == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif form == "EXIF":
        image = image.transpose(Image.Transpose.ROTATE_90)
        options["exif"] = image.getexif()
        options["exif"][0x0112] = 6
    else:
        image = image.convert(form)
    path = tmp_path / ("a.jpg" if form in ("CMYK", "EXIF") else "a.png")
    image.save(path, **options)
    done = run("lift", path, "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0, done.output
    assert off(np.load(tmp_path / "x.npz"), 0, person[1]) < 0.04


def test_fifty_people(run, person, tmp_path):
    from PIL import Image

    small = Image.fromarray(person[0]).resize((160, 160))
    crowd, rows = Image.new("RGB", (1600, 800)), ["x0,y0,x1,y1"]
    for k in range(50):
        x, y = 160 * (k % 10), 160 * (k // 10)
        crowd.paste(small, (x, y))
        rows.append(f"{x},{y},{x + 160},{y + 160}")
    crowd.save(tmp_path / "crowd.png")
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    words = ("lift", tmp_path / "crowd.png", "--boxes", tmp_path / "boxes.csv", "--n", 50, "--out", tmp_path / "x.npz")
    done = run(*words)
    assert done.exit_code == 0 and "50 people in 1 of 1" in done.output, done.output
    found = np.load(tmp_path / "x.npz")
    assert found["person"].tolist() == list(range(50)) and found["poses"].shape == (50, 50, 17, 3)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux")
def test_a_very_large_picture(person, tmp_path):
    from PIL import Image

    large = Image.new("RGB", (12000, 9000), tuple(person[0][0, 0].tolist()))
    large.paste(Image.fromarray(person[0]).resize((9000, 9000)), (1500, 0))
    large.save(tmp_path / "large.jpg", quality=80)
    large.close()
    code = (
        "import sys; from probpose.cli.app import app; sys.argv[0] = 'probpose'\n"
        "try: app()\n"
        "finally: print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    words = ("lift", tmp_path / "large.jpg", "--n", "2", "--out", tmp_path / "x.npz")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    assert int(done.stdout.split()[-1]) < 2_000_000, "kilobytes"
    joints = person[1] * (9000 / 512) + [1500, 0]
    assert np.nanmedian(np.linalg.norm(np.load(tmp_path / "x.npz")["keypoints"][0] - joints, axis=-1)[LIMBS]) < 300


@pytest.mark.parametrize("name", ["x.txt", "taken.npz", "file/x.npz"])
def test_what_cannot_be_written_is_found_before_the_work(name, run, photo, tmp_path, monkeypatch):
    monkeypatch.setattr("probpose.vision.sources.find_source", lambda *_: pytest.fail("the work was begun"))
    (tmp_path / "taken.npz").mkdir()
    (tmp_path / "file").touch()
    done = run("lift", photo, "--out", tmp_path / name)
    assert done.exit_code == 2 and "Error" in done.output, done.output


@pytest.mark.parametrize("module, suffix", [("ai_edge_litert.interpreter", "jpg"), ("av", "mp4"), ("PIL.Image", "jpg")])
def test_missing_packages_name_the_extra(module, suffix, run, tmp_path, monkeypatch):
    from PIL import Image

    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    (tmp_path / "a.mp4").write_bytes((tmp_path / "a.jpg").read_bytes())
    monkeypatch.setitem(sys.modules, module, None)
    done = run("lift", tmp_path / f"a.{suffix}", "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "probpose[photo]" in done.output, done.output
