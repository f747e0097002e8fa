"HDF5, MATLAB and CDF: numbers are read, everything else is refused, and nothing that a file holds is run."

import pickle

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from probpose.data.containers import cell_array, file_sizes, read_cdf, read_hdf5, read_matlab


def write_cdf(path, values, name="Pose"):
    cdfwrite = pytest.importorskip("cdflib").cdfwrite
    file = cdfwrite.CDF(path, cdf_spec={"Compressed": 0})
    kind = 44 if values.dtype == np.float32 else 51
    size = 1 if kind == 44 else values.dtype.itemsize // 4
    shape = list(values.shape[1:])
    about = {"Variable": name, "Data_Type": kind, "Num_Elements": size, "Rec_Vary": True, "Dim_Sizes": shape}
    file.write_var(about, var_data=values)
    file.close()
    return path


def test_hdf5_holds_only_numbers(tmp_path, refused, trap):
    path = tmp_path / "a.h5"
    payload = pickle.dumps(trap)
    with h5py.File(path, "w") as file:
        file["bytes"] = np.void(payload)
        file["text"] = "cos\nsystem\n(S'touch ran'\ntR."
        file["parts"] = np.zeros(2, dtype=[("a", "f8")])
        file["group/numbers"] = np.arange(3)
        file.attrs["evil"] = np.void(payload)
        file["link"] = h5py.ExternalLink(str(tmp_path / "b.h5"), "numbers")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["numbers"] = np.arange(3)
    assert read_hdf5(path, ["group/numbers"])["group/numbers"].tolist() == [0, 1, 2]
    for key in ("bytes", "text", "parts"):
        refused(lambda: read_hdf5(path, [key]), "a.h5", key, "numbers")
    refused(lambda: read_hdf5(path, [], ["link"]), "a.h5, link", "another file")
    refused(lambda: read_hdf5(path, ["group"]), "group is missing")
    assert set(file_sizes(path)) >= {"bytes", "group/numbers"}


def test_hdf5_that_lies_in_other_files(tmp_path, refused):
    np.arange(4, dtype="<f8").tofile(tmp_path / "raw.bin")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("outside", (4,), "<f8", external=[(str(tmp_path / "raw.bin"), 0, 32)])
        layout = h5py.VirtualLayout((4,), "<f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "b.h5"), "x", (4,))
        file.create_virtual_dataset("virtual", layout)
    for key in ("outside", "virtual"):
        refused(lambda: read_hdf5(tmp_path / "a.h5", [key]), f"a.h5, {key}", "lie in the file")


def test_matlab_runs_nothing(tmp_path, refused, trap):
    payload = np.frombuffer(pickle.dumps(trap), np.uint8)
    cells = np.empty((2, 1), dtype=object)
    cells[0, 0], cells[1, 0] = payload, np.array(["system('touch ran')"])
    savemat(tmp_path / "a.mat", {"annot3": cells, "evil": {"reduce": "os.system", "code": payload}})
    found = read_matlab(tmp_path / "a.mat", ["annot3", "evil"])
    for place in (0, 1):
        refused(lambda: cell_array(found["annot3"], place, 84, "a.mat, annot3"), "a.mat, annot3", f"cell {place}")
    refused(lambda: read_matlab(tmp_path / "a.mat", ["annot2"]), "annot2 is missing", "annot3")
    (tmp_path / "b.mat").write_bytes(pickle.dumps(trap))
    refused(lambda: read_matlab(tmp_path / "b.mat", ["annot2"]), "b.mat", "MATLAB")


def test_cdf_runs_nothing(tmp_path, refused, trap):
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 12)
    path = write_cdf(tmp_path / "a.cdf", values)
    assert np.array_equal(read_cdf(path, "Pose"), values)
    assert file_sizes(path) == {"Pose": ((1, 2, 12), "CDF_FLOAT", 96)}
    refused(lambda: read_cdf(path, "Other"), "a.cdf", "Other is missing; found Pose")
    text = write_cdf(tmp_path / "text.cdf", np.array([["import os", "os.abort"]]))
    refused(lambda: read_cdf(text, "Pose"), "text.cdf, Pose", "numbers")
    whole = path.read_bytes()
    for content in (b"", whole[:200], whole[: len(whole) - 60], pickle.dumps(trap)):
        path.write_bytes(content)
        refused(lambda: read_cdf(path, "Pose"), "a.cdf")


def test_endings(tmp_path, refused):
    (tmp_path / "a.txt").write_text("x")
    refused(lambda: file_sizes(tmp_path / "a.txt"), "a.txt", ".npz")
    refused(lambda: file_sizes(tmp_path / "none.npz"), "none.npz")
    for ending in ("npz", "h5", "mat", "cdf"):
        (tmp_path / f"a.{ending}").write_bytes(b"nothing that anybody would write")
        refused(lambda: file_sizes(tmp_path / f"a.{ending}"), f"a.{ending}")
