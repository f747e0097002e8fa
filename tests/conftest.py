"Fixtures that several test files share."

import os
from pathlib import Path

import pytest

CMU_FILE = "cmu_h36m17_30hz.npz"


@pytest.fixture(scope="session", autouse=True)
def probpose_cache(tmp_path_factory):
    "A cache folder of this session, unless the environment names one: tests neither trust nor fill the user's cache."
    if "PROBPOSE_CACHE" in os.environ:
        yield Path(os.environ["PROBPOSE_CACHE"])
        return
    folder = tmp_path_factory.mktemp("probpose-cache")
    os.environ["PROBPOSE_CACHE"] = str(folder)
    yield folder
    del os.environ["PROBPOSE_CACHE"]


@pytest.fixture(scope="session")
def cmu_path() -> Path:
    "The folder of the CMU subset; tests that need it skip where it is not."
    named = os.environ.get("PROBPOSE_CMU")
    folder = Path(named).expanduser() if named else Path(__file__).resolve().parents[2] / "shared" / "data" / "cmu"
    folder = folder.parent if folder.is_file() else folder
    if not (folder / CMU_FILE).is_file():
        pytest.skip(
            f"the CMU subset is not at hand ({CMU_FILE} in ../shared/data/cmu beside the checkout, or where "
            "PROBPOSE_CMU points)"
        )
    return folder


@pytest.fixture(scope="session")
def cmu_raw(cmu_path) -> Path:
    "The folder of CMU's own ASF/AMC and BVH samples; tests that need them skip where they are not."
    folder = cmu_path / "raw_samples"
    if not (folder / "pirouette.amc").is_file():
        pytest.skip(f"CMU's raw sample files are not at hand ({folder})")
    return folder
