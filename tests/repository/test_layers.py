"The layers: a room imports only from rooms before it in nbs/layers.yml, and README.md shows the same table."

import pytest
import yaml
from measure import ROOT, imports_between_rooms, room_order, upward_imports


def test_every_room_has_a_layer_an_index_and_notebooks():
    rooms = {path.name for path in (ROOT / "nbs").iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert rooms == set(room_order())
    for room in rooms:
        assert (ROOT / "nbs" / room / "index.md").is_file() and list((ROOT / "nbs" / room).rglob("*.ipynb"))


def test_notebooks_of_a_folder_are_numbered_from_01():
    for folder in {path.parent for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts}:
        numbers = [path.name[:2] for path in sorted(folder.glob("*.ipynb"))]
        assert numbers == [f"{k:02d}" for k in range(1, len(numbers) + 1)], folder


def test_a_room_imports_only_from_rooms_before_it():
    assert upward_imports(imports_between_rooms()) == []


@pytest.mark.parametrize(
    "found, wrong", [(("geometry", "core"), False), (("core", "geometry"), True), (("core", "cli"), True)]
)
def test_an_upward_arrow_would_be_found(found, wrong):
    assert bool(upward_imports([(*found, "somewhere")])) == wrong


def test_readme_shows_the_layers():
    layers = yaml.safe_load((ROOT / "nbs/layers.yml").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for layer, rooms in layers.items():
        assert f"| {layer} | {', '.join(f'`{room}`' for room in rooms)} |" in readme
