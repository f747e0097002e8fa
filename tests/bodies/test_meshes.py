"""Meshes in files: what is written is read back upright and whole, and what is wrong leaves no file."""

import json
import os
import sys

import numpy as np
import pytest
import torch

from probpose.bodies.meshes import MESH_SUFFIXES, save_hypotheses, save_meshes, viewer_axes
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, DiskError, NotFiniteError, ShapeError

CORNERS = torch.tensor([[0.0, -1.0, 2.0], [-0.5, 0.0, 2.0], [0.5, 0.0, 2.0], [0.0, 0.0, 2.5]])  # tip up, 2 m ahead
FACES = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])


@pytest.fixture
def trimesh():
    return pytest.importorskip("trimesh")


def read(trimesh, path):
    "Meshes by name."
    return dict(trimesh.load_scene(path, **({"split_objects": True} if path.suffix == ".obj" else {})).geometry)


@pytest.mark.parametrize("suffix", [*MESH_SUFFIXES, ".GLB"])
def test_bodies_are_read_back_upright_and_not_mirrored(suffix, trimesh, tmp_path):
    bodies = torch.stack([CORNERS, CORNERS + torch.tensor([0.1, 0.2, 0.3])])
    path = save_meshes(tmp_path / f"two{suffix}", bodies, FACES)
    found = read(trimesh, path)
    assert list(sorted(found)) == ["hypothesis_00", "hypothesis_01"] and [p.name for p in tmp_path.iterdir()] == [
        path.name
    ], "one file"
    for (_, mesh), body in zip(sorted(found.items()), bodies):
        assert np.allclose(mesh.vertices, body.numpy() * [1, -1, -1], atol=1e-5) and (mesh.faces == FACES.numpy()).all()
        wanted = trimesh.Trimesh(body.numpy(), FACES.numpy(), process=False).volume
        assert mesh.volume == pytest.approx(wanted, rel=1e-3), "inside stays inside"


def test_viewer_axes_are_a_rotation():
    assert torch.linalg.det(viewer_axes(torch.eye(3, dtype=torch.float64))) == 1
    points = torch.randn(5, 4, 3, generator=make_generator(0))
    assert torch.equal(viewer_axes(viewer_axes(points)), points)


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_names_and_spacing(suffix, trimesh, tmp_path):
    found = read(
        trimesh,
        save_meshes(
            tmp_path / f"named{suffix}", {"truth": CORNERS, "mode": CORNERS, "other": CORNERS}, FACES, spacing=1.5
        ),
    )
    assert set(found) == {"truth", "mode", "other"}
    assert [
        round(float(found[name].centroid[0] - found["truth"].centroid[0]), 4) for name in ("truth", "mode", "other")
    ] == [0, 1.5, 3]


def test_many_hypotheses_share_their_faces(trimesh, tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices, faces = torch.tensor(ball.vertices).float(), torch.tensor(ball.faces)
    one = save_meshes(tmp_path / "one.glb", vertices[None], faces).stat().st_size
    many = (
        save_meshes(tmp_path / "many.glb", vertices + 0.01 * torch.randn(12, 1, 3, generator=make_generator(0)), faces)
        .stat()
        .st_size
    )
    assert many < one + 11 * (len(vertices) * 24 + 1000), "positions and normals only"
    assert len(read(trimesh, tmp_path / "many.glb")) == 12


def test_a_gltf_file_needs_no_other_file(trimesh, tmp_path):
    text = json.loads(save_meshes(tmp_path / "body.gltf", CORNERS[None], FACES).read_text())
    assert (
        all(buffer["uri"].startswith("data:") for buffer in text["buffers"])
        and text["nodes"][0]["name"] == "hypothesis_00"
    )


def test_numbers_are_read_back(tmp_path):
    g = make_generator(0)
    given = dict(
        rotations=torch.randn(5, 22, 3, 3, generator=g),
        betas=torch.randn(11, generator=g),
        camera=torch.randn(3, generator=g),
        translation=torch.randn(5, 3, generator=g),
        log_prob=torch.randn(5, generator=g),
        vertices=torch.randn(5, 4, 3, generator=g),
        faces=FACES,
    )
    path = save_hypotheses(
        tmp_path / "deep" / "er" / "person.npz", **given, focal=torch.tensor(1200.0), image="street.jpg"
    )
    with np.load(path) as file:
        assert all((file[name] == value.numpy()).all() for name, value in given.items())
        assert file["focal"] == 1200 and str(file["image"]) == "street.jpg" and "y down" in str(file["axes"])


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (ShapeError, dict(rotations=torch.eye(3))),
        (ShapeError, dict(rotations=torch.zeros(5, 24, 3, 3))),
        (ShapeError, dict(rotations=torch.zeros(0, 22, 3, 3))),
        (ShapeError, dict(betas=torch.zeros(4, 11))),
        (ShapeError, dict(camera=torch.zeros(4))),
        (ShapeError, dict(translation=torch.zeros(4, 3))),
        (ShapeError, dict(log_prob=torch.zeros(4))),
        (ShapeError, dict(vertices=torch.zeros(4, 9, 3))),
        (ShapeError, dict(rotations=np.zeros((5, 22, 3, 3)))),
        (NotFiniteError, dict(rotations=torch.full((5, 22, 3, 3), torch.nan))),
        (NotFiniteError, dict(betas=torch.full((11,), torch.inf))),
        (NotFiniteError, dict(vertices=torch.full((5, 9, 3), torch.nan))),
    ],
)
def test_bad_numbers_leave_no_file(error, change, tmp_path):
    good = dict(rotations=torch.eye(3).expand(5, 22, 3, 3), betas=torch.zeros(11))
    with pytest.raises(error, match="expected"):
        save_hypotheses(tmp_path / "x.npz", **good | change)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ConfigError, lambda f: save_meshes(f / "x.stl", CORNERS[None], FACES)),
        (ConfigError, lambda f: save_meshes(f / "x", CORNERS[None], FACES)),
        (ConfigError, lambda f: save_hypotheses(f / "x.npy", torch.eye(3).expand(1, 22, 3, 3), torch.zeros(11))),
        (ConfigError, lambda f: save_meshes(f / "x.glb", {}, FACES)),
        (ConfigError, lambda f: save_meshes(f / "x.glb", [CORNERS], FACES)),
        (ShapeError, lambda f: save_meshes(f / "x.glb", CORNERS, FACES)),
        (ShapeError, lambda f: save_meshes(f / "x.glb", CORNERS[None][:0], FACES)),
        (ShapeError, lambda f: save_meshes(f / "x.glb", {"a": CORNERS.numpy()}, FACES)),
        (ShapeError, lambda f: save_meshes(f / "x.glb", {"a": CORNERS, "b": CORNERS[:3]}, FACES)),
        (ShapeError, lambda f: save_meshes(f / "x.glb", CORNERS.long()[None], FACES)),
        (ShapeError, lambda f: save_meshes(f / "x.glb", CORNERS[None], FACES + 1)),
        (ShapeError, lambda f: save_meshes(f / "x.glb", CORNERS[None], FACES - 1)),
        (ShapeError, lambda f: save_meshes(f / "x.glb", CORNERS[None], FACES.float())),
        (ShapeError, lambda f: save_meshes(f / "x.glb", CORNERS[None], FACES[:, :2])),
        (NotFiniteError, lambda f: save_meshes(f / "x.glb", CORNERS[None] * torch.nan, FACES)),
        (ShapeError, lambda f: viewer_axes(CORNERS[:, :2])),
    ],
)
def test_bad_bodies_leave_no_file(error, call, tmp_path):
    with pytest.raises(error, match="expected"):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_written_to(trimesh, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for save in (
        lambda p: save_meshes(p / "x.glb", CORNERS[None], FACES),
        lambda p: save_hypotheses(p / "x.npz", torch.eye(3).expand(1, 22, 3, 3), torch.zeros(11)),
    ):
        with pytest.raises(DiskError, match="could not write"):
            save(tmp_path / "file")
        if os.geteuid():  # the superuser may write anywhere
            locked = tmp_path / "locked"
            locked.mkdir(mode=0o500, exist_ok=True)
            with pytest.raises(DiskError):
                save(locked)


def test_a_failure_leaves_the_old_file(trimesh, tmp_path, monkeypatch):
    path = save_meshes(tmp_path / "x.glb", CORNERS[None], FACES)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("probpose.core.storage.os.replace", full)
    with pytest.raises(DiskError):
        save_meshes(path, torch.stack([CORNERS, CORNERS]), FACES)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x.glb"]


def test_without_trimesh_the_way_to_get_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ConfigError, match=r"probpose\[mesh\]"):
        save_meshes(tmp_path / "x.glb", CORNERS[None], FACES)
    assert not list(tmp_path.iterdir())
