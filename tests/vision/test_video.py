"Frames of videos as a viewer shows them."

import numpy as np
import pytest
import torch

from probpose.core.errors import DataFileError
from probpose.vision.video import Video

av = pytest.importorskip("av")


@pytest.fixture
def corner():
    "A dark picture, 48 × 64, whose upper left corner is light."
    image = np.full((48, 64, 3), 40, np.uint8)
    image[:16, :16] = 220
    return image


@pytest.mark.parametrize("rotation, turns", [(0, 0), (90, 1), (-90, 3), (180, 2)])
def test_frames_are_turned_as_the_file_says(rotation, turns, corner, tmp_path, write_video):
    (frame,) = Video(write_video(tmp_path / "a.mp4", [corner], rotation=rotation))
    assert frame.dtype == torch.uint8 and frame.is_contiguous()
    assert np.abs(frame.numpy().astype(int) - np.rot90(corner, turns)).mean() < 6


def test_a_portrait_of_a_telephone(corner, tmp_path, write_video):
    "The matrix that telephones write for a portrait turns what they recorded clockwise."
    path = write_video(tmp_path / "a.mp4", [corner], rotation=-90)
    numbers = np.frombuffer(path.read_bytes().split(b"tkhd", 1)[1][40:76], ">i4")
    assert numbers.tolist()[:5] == [0, 65536, 0, -65536, 0]
    (frame,) = Video(path)
    assert frame.shape == (64, 48, 3) and frame[:16, -16:].float().mean() > 180


def test_pixels_become_square(corner, tmp_path, write_video):
    from fractions import Fraction

    (frame,) = Video(write_video(tmp_path / "a.mkv", [corner], aspect=Fraction(3, 2)))
    assert frame.shape == (48, 96, 3) and frame[:14, :22].float().mean() > 180


def test_rate_length_and_order(tmp_path, write_video):
    frames = [np.full((32, 32, 3), 20 * k, np.uint8) for k in range(10)]
    video = Video(write_video(tmp_path / "a.mp4", frames, rate=60))
    assert video.fps == 60 and video.length == 10
    assert [round(float(frame.float().mean()) / 20) for frame in video] == list(range(10))
    assert len(list(video)) == 10 and not video.notes, "again from the start"


def test_damaged_frames_are_counted(tmp_path, write_video):
    frames = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mkv", frames)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    video = Video(path)
    assert 3 < len(list(video)) < 20


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_what_is_no_video(content, tmp_path):
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataFileError, match="video"):
        Video(tmp_path / "a.mp4")


def test_sound_alone(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(DataFileError, match="no pictures"):
        Video(tmp_path / "a.wav")
