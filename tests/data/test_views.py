"Clips of several cameras from files, and what can go wrong with them."

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, DataFileError
from probpose.data.views import find_clip, is_human, limb_lengths, read_views, render_views, triangulate_views

pytest.importorskip("ai_edge_litert")


@pytest.fixture(scope="module")
def views():
    "Two moments before three cameras."
    return render_views(moments=2, count=3, size=256)


def write_toml(views, folder, names):
    "A calibration of a rendered clip's cameras, as Pose2Sim writes it."
    import roma

    text = ""
    for v, name in enumerate(names):
        camera = views.cameras[v]
        (fx, fy), (cx, cy) = camera.focal.tolist(), camera.centre.tolist()
        text += f'[{name}]\nname = "{name}"\nsize = [ 256.0, 256.0]\n'
        text += f"matrix = [ [ {fx}, 0.0, {cx}], [ 0.0, {fy}, {cy}], [ 0.0, 0.0, 1.0]]\ndistortions = [0.0, 0.0]\n"
        text += f"rotation = {roma.rotmat_to_rotvec(camera.rotation).tolist()}\n"
        text += f"translation = {camera.translation.tolist()}\n\n"
    (folder / "Calib.toml").write_text(text)


@pytest.fixture
def clip(views, tmp_path):
    "The pictures of a rendered clip in a folder for each camera, with their calibration."
    image = pytest.importorskip("PIL.Image")
    for v, name in enumerate(("a", "b", "c")):
        (tmp_path / name).mkdir()
        for moment in range(2):
            picture = views.pictures[moment, v].numpy()
            image.fromarray(picture).save(tmp_path / name / f"{moment:03d}.png")
    write_toml(views, tmp_path, ("a", "b", "c"))
    return tmp_path


def test_a_clip_from_files_is_what_was_rendered(views, clip):
    read = read_views(clip)
    assert read.names == ("a", "b", "c") and len(read) == 2 and read.truth is None and read.pictures is None
    assert torch.allclose(read.keypoints, views.keypoints, equal_nan=True, atol=1e-3)
    first, again = triangulate_views(read)[0].points, triangulate_views(views)[0].points
    assert torch.allclose(first, again, equal_nan=True, atol=1e-4)
    assert read_views(clip, size=1).people[0][0] is not None and len(read_views(clip, size=1)) == 1
    assert read.fingerprint == read_views(clip).fingerprint != read_views(clip, size=1).fingerprint


def test_videos_are_read_upright_and_in_step(views, clip):
    av = pytest.importorskip("av")
    import shutil

    for v, name in enumerate(("a", "b", "c")):
        shutil.rmtree(clip / name)
        with av.open(str(clip / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 256, 256, "yuv420p", 8_000_000
            for moment in range(2 + v):  # recordings do not end at the same moment
                picture = views.pictures[min(moment, 1), v].numpy()
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    read = read_views(clip)
    assert len(read) == 2 and read.seconds == pytest.approx((0.0, 1 / 30), abs=1e-3)
    assert (read.keypoints - views.keypoints).norm(dim=-1).nanmedian() < 3
    (clip / "b.mp4").write_bytes((clip / "b.mp4").read_bytes()[:300])
    with pytest.raises(DataFileError, match="b.mp4"):
        read_views(clip)


def test_the_truth_without_a_view_does_not_ask_it(views):
    whole, exchanged = triangulate_views(views)
    part, sides = triangulate_views(views, without=2)
    assert whole.errors.shape == (2, 3, 12) and part.errors.shape == (2, 2, 12) and sides.shape == (2, 2)
    assert not exchanged.any()
    seen = part.points.isfinite().all(-1)
    assert (part.points - views.truth)[seen].norm(dim=-1).median() < 0.1


def test_bones_have_human_lengths_or_not(views):
    assert is_human(views.truth).all() and not is_human(1.6 * views.truth).any() and not is_human(views.truth / 2).any()
    lost = views.truth.clone()
    lost[0, 3] = torch.nan
    assert is_human(lost).tolist() == [False, True]
    lengths = limb_lengths(views.truth)
    assert torch.allclose(lengths["left hip–knee"], lengths["right hip–knee"], atol=0.03)


def test_folders_that_are_no_clip_are_refused(clip, monkeypatch):
    monkeypatch.delenv("PROBPOSE_PHOTOS", raising=False)
    with pytest.raises(DataFileError, match="PROBPOSE_PHOTOS"):
        find_clip()
    monkeypatch.setenv("PROBPOSE_PHOTOS", str(clip))
    assert find_clip() == clip
    with pytest.raises(DataFileError, match="there is none"):
        find_clip(clip / "nowhere")
    (clip / "second.toml").write_text("")
    with pytest.raises(DataFileError, match="one calibration"):
        read_views()
    (clip / "second.toml").unlink()
    (clip / "c").rename(clip / "d")
    with pytest.raises(DataFileError, match="called c"):
        read_views()


def test_pictures_of_two_sizes_and_empty_folders_are_refused(views, clip):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(views.pictures[0, 0, :200].numpy()).save(clip / "a" / "001.png")
    with pytest.raises(DataFileError, match="one size"):
        read_views(clip)
    for file in (clip / "a").iterdir():
        file.unlink()
    with pytest.raises(DataFileError, match="every camera"):
        read_views(clip)
    write_toml(views, clip, ("a",))
    with pytest.raises(DataFileError, match="two cameras"):
        read_views(clip)


def test_numbers_of_moments_and_cameras_are_checked():
    for mistake in (dict(moments=0), dict(count=1)):
        with pytest.raises(ConfigError):
            render_views(**mistake)
