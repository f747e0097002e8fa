"Pickles of arrays: what every version of Python and NumPy wrote is read, and nothing that a file names is run."

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from probpose.core.errors import DataFileError
from probpose.core.unpickling import archive_sizes, read_archive, read_pickle, unpickle


def load(content):
    return unpickle(io.BytesIO(content), "file.pkl")


def python2_array(values):
    "What Python 2 and NumPy 1 wrote: raw bytes as a string."
    raw = np.asarray(values, "<f8").tobytes()
    make = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    form = b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = bytes([75, len(values)]) + b"\x85"
    return make + b"(K\x01" + shape + form + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"


def test_arrays_of_python_2():
    values = [1.5, -2.0, np.pi, 1e-300]
    found = load(b"\x80\x02}U\x05poses" + python2_array(values) + b"sU\x04name" + b"U\x02S\xe9s.")
    assert found["poses"].tolist() == values and type(found["poses"]) is np.ndarray and found["name"] == "Sé"


@pytest.mark.parametrize("numpy_core", [b"numpy._core", b"numpy.core"])
@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_both_numpys(numpy_core, protocol):
    array = np.arange(12, dtype=">i2").reshape(3, 4)
    content = {"swapped": array, "none": np.zeros((0, 3)), "order": np.asfortranarray(np.eye(3)), "yes": np.bool_(True)}
    raw = pickle.dumps(content, protocol)
    if protocol < 4:
        raw = raw.replace(b"numpy._core", numpy_core)
    found = load(raw)
    assert (found["swapped"] == array).all() and found["none"].shape == (0, 3) and found["yes"]
    assert (found["order"] == np.eye(3)).all()


def command(module, name, argument):
    "A pickle that calls a function."
    return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()


@pytest.mark.parametrize(
    "module, name",
    [
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "check_call"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("builtins", "getattr"),
        ("builtins", "open"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.testing._private.utils", "runstring"),
        ("pickle", "loads"),
        ("copyreg", "_reconstructor"),
        ("pandas.core.frame", "DataFrame"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("os", "encode"),
        ("numpy", "set"),
        ("builtins", "OrderedDict"),
    ],
)
def test_no_other_name_is_looked_up(module, name, tmp_path):
    ran = tmp_path / "ran"
    with pytest.raises(DataFileError, match=rf"file\.pkl.*{module}\.{name}.*not run"):
        load(command(module, name, f"touch {ran}"))
    assert not ran.exists()


def test_dotted_names_do_not_reach_further():
    with pytest.raises(DataFileError, match="ndarray.tofile"):
        load(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")


def test_a_file_changes_nothing_for_the_next_one():
    "State given to what stands for a function ends with the file."
    tamper = b"\x80\x02cnumpy.core.numeric\n_frombuffer\n(N}U\x0c__defaults__(U\x01xU\x01ytst\x86b."
    try:
        load(tamper)
    except DataFileError:
        pass
    array = np.arange(5)
    assert (load(pickle.dumps(array, 5)) == array).all()


@pytest.mark.parametrize(
    "form",
    [
        b"cnumpy\ndtype\nU\x02V8K\x00K\x01\x87R",  # raw bytes
        # eight bytes that claim to be an object, without the flag that says so
        b"cnumpy\ndtype\nU\x02V8K\x00K\x01\x87R(K\x03U\x01|NU\x01a\x85}U\x01acnumpy\ndtype\nU\x02O8K\x00K\x01\x87RK\x00"
        b"\x86sK\x08K\x01K\x00tb",
        b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    ],
)
def test_bytes_never_become_addresses(form):
    make = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    with pytest.raises(DataFileError):
        load(make + b"(K\x01K\x01\x85" + form + b"\x89U\x08AAAAAAAAtb.")
    with pytest.raises(DataFileError):
        load(b"\x80\x02cnumpy.core.multiarray\nscalar\n" + form + b"U\x08AAAAAAAA\x86R.")
    with pytest.raises(DataFileError):
        load(b"\x80\x02cnumpy\nndarray\nK\x01\x85" + form + b"\x86\x81.")


def test_what_refers_to_itself_is_settled_once():
    loop, many = [], [np.ones(2)]
    loop.append(loop)
    for _ in range(60):
        many = [many, many]
    found = load(pickle.dumps({"loop": loop, "many": many, "twice": (many, many)}))
    assert found["loop"][0] is found["loop"] and found["twice"][0] is found["many"]
    deepest = found["many"]
    for _ in range(60):
        deepest = deepest[0]
    assert type(deepest[0]) is np.ndarray


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_cut_short(tmp_path, cut):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"poses": np.zeros((10, 3))})[:-cut])
    with pytest.raises(DataFileError, match="a.pkl.*cut short"):
        read_pickle(path)
    with pytest.raises(DataFileError, match="cannot be read"):
        read_pickle(tmp_path)


def write_object_array(path, key, payload):
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(f"{key}.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
            file.write(payload)


def test_objects_in_archives_are_not_run(tmp_path):
    path, ran = tmp_path / "a.npz", tmp_path / "ran"
    write_object_array(path, "positions_3d", command("os", "system", f"touch {ran}"))
    with pytest.raises(DataFileError, match="a.npz, positions_3d.*os.system.*not run"):
        read_archive(path)
    assert not ran.exists() and archive_sizes(path)["positions_3d"][:2] == ((), "object")


def test_only_what_is_asked_for_is_read(tmp_path):
    path = tmp_path / "a.npz"
    write_object_array(path, "evil", command("os", "system", "true"))
    with zipfile.ZipFile(path, "a") as archive, archive.open("good.npy", "w") as file:
        np.save(file, np.arange(3))
    assert read_archive(path, ["good"])["good"].tolist() == [0, 1, 2]
    with pytest.raises(DataFileError, match="poses is missing; found evil, good"):
        read_archive(path, ["good", "poses"])


def test_damaged_archives(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, poses=np.random.default_rng(0).normal(size=(50, 3)))
    whole = bytearray(path.read_bytes())
    whole[300] ^= 255
    path.write_bytes(whole)
    with pytest.raises(DataFileError, match="a.npz, poses.*damaged"):
        read_archive(path)
    path.write_bytes(whole[:400])
    with pytest.raises(DataFileError, match="a.npz.*cut short"):
        read_archive(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("poses.npy", b"not an array")
    with pytest.raises(DataFileError, match="a.npz, poses"):
        read_archive(path)
