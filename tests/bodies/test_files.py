"""Files of body models: found, read, refused."""

import numpy as np
import pytest
import torch

from probpose.bodies.body import load_body
from probpose.bodies.files import load_vertex_map, map_vertices
from probpose.core.errors import DataFileError, ShapeError


@pytest.mark.parametrize(
    "name, file, site",
    [("smplx", "SMPLX_NEUTRAL.npz", "smpl-x.is.tue.mpg.de"), ("smpl", "SMPL_NEUTRAL.npz", "smpl.is.tue.mpg.de")],
)
def test_missing_licensed_model(name, file, site, monkeypatch, tmp_path):
    monkeypatch.delenv("PROBPOSE_BODIES", raising=False)
    with pytest.raises(DataFileError, match=site) as error:
        load_body(name)
    assert file in str(error.value) and "open" in str(error.value)
    monkeypatch.setenv("PROBPOSE_BODIES", str(tmp_path))
    with pytest.raises(DataFileError, match=file):
        load_body(name)
    with pytest.raises(DataFileError, match="register") as error:
        load_body(tmp_path / file)
    assert str(tmp_path / file) in str(error.value) and site in str(error.value)
    assert "load_body('open')" in str(error.value)


@pytest.mark.parametrize("vertices, joints", [(5023, 5), (778, 16), (10475, 24)])
def test_models_of_other_parts_are_refused(write_licensed, vertices, joints, tmp_path):
    "Heads and hands come in the same layout; and the parts of SMPL-X beside SMPL's joints."
    shapes = dict(shapedirs=lambda generator: generator.standard_normal((vertices, 3, 10), np.float32))
    file = write_licensed(tmp_path / "part.npz", vertices, [0, *range(joints - 1)], **shapes)
    with pytest.raises(DataFileError, match="joints"):
        load_body(file, num_betas=10)


def test_a_licensed_file_is_found_by_folder(monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "SMPLX_NEUTRAL.npz").write_bytes(load_body().path.read_bytes())
    monkeypatch.setenv("PROBPOSE_BODIES", str(tmp_path))
    assert load_body("smplx").vertex_count == load_body(tmp_path / "models").vertex_count == 13718


def broken(tmp_path, **changes):
    with np.load(load_body().path) as file:
        arrays = {k: v for k, v in file.items() if changes.get(k, 0) is not None} | {
            k: v for k, v in changes.items() if v is not None
        }
    np.savez(tmp_path / "broken.npz", **arrays)
    return tmp_path / "broken.npz"


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(v_template=np.zeros((100, 3))), "one topology"),
        (dict(f=np.array([[0, 1, 99999]])), "vertex 99999"),
        (dict(J_regressor=None), "J_regressor"),
        (dict(weights=np.zeros((13718, 55))), "sum to one"),
        (dict(landmark_vertices=None), "landmark_vertices"),
        (dict(landmark_vertices=np.array([0, 1, 2, 3, 4, 13718])), "landmark_vertices"),
        (dict(landmark_vertices=np.arange(5)), "landmark_vertices"),
        (dict(posedirs=np.zeros((13718, 3, 207), np.int8)), "posedirs"),
        (dict(shapedirs=np.zeros((6890, 3, 10))), "shapedirs"),
        (dict(kintree_table=np.tile(np.arange(55), (2, 1))), "before its parent"),
    ],
)
def test_wrong_topology(tmp_path, changes, message):
    with pytest.raises(DataFileError, match=message):
        load_body(broken(tmp_path, **changes))


def test_damaged_files(tmp_path):
    whole = load_body().path.read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("not a body")
    (tmp_path / "smplx.pkl").write_bytes(b"x")
    for name in ("half.npz", "text.npz", "smplx.pkl"):
        with pytest.raises(DataFileError, match="npz"):
            load_body(tmp_path / name)


def test_vertex_map(tmp_path):
    from scipy import sparse

    matrix = sparse.random(6890, 10475, density=1e-4, random_state=0, dtype=np.float32)
    sparse.save_npz(tmp_path / "map.npz", matrix.tocsr())
    found = load_vertex_map(tmp_path / "map.npz")
    mesh = torch.randn(2, 10475, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(map_vertices(mesh, found), torch.from_numpy(matrix.toarray()) @ mesh, atol=1e-4)
    import pickle

    (tmp_path / "map.pkl").write_bytes(pickle.dumps({"matrix": matrix.tocsc()}))
    assert torch.equal(load_vertex_map(tmp_path / "map.pkl").to_dense(), found.to_dense())
    with pytest.raises(ShapeError, match="10475"):
        map_vertices(mesh[:, :6890], found)
    np.save(tmp_path / "small.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(DataFileError, match="6890"):
        load_vertex_map(tmp_path / "small.npy")
    with pytest.raises(DataFileError, match="smplx2smpl"):
        load_vertex_map(tmp_path / "none.pkl")


def test_a_pickle_cannot_run_code(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (print, ("no",))

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"matrix": Evil()}))
    with pytest.raises(DataFileError, match="print.*not run"):
        load_vertex_map(tmp_path / "evil.pkl")
