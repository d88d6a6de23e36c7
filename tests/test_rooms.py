"""Imports run down the order of rooms, in no circle; and the walk that says so finds what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import imports
import pytest

ROOT = Path(__file__).parents[1]
MOST_IN_ROOT = 20  # folders and files, beside those that every package has
USUAL = {"__init__.py", "__main__.py", "py.typed", "version.py", "__pycache__"}


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return imports.imports()


def package(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / "audioxai" / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "audioxai"


def test_every_room_has_its_place(graph):
    assert {imports.room(name) for name in graph} == set(imports.ROOMS)


def test_no_import_runs_up(graph):
    assert not imports.upward(graph)


def test_no_circle(graph):
    assert not imports.circles(graph)


def test_the_root_fits_a_screen():
    assert len({path.name for path in imports.PACKAGE.iterdir()} - USUAL) <= MOST_IN_ROOT


def test_modules_are_short():
    lines = sorted(len(path.read_text().splitlines()) for path in imports.PACKAGE.rglob("*.py"))
    assert lines[len(lines) // 2] <= 200
    assert lines[-1] <= 400


def test_contributing_shows_the_rooms(graph):
    assert f"```mermaid\n{imports.drawing(graph)}```" in (ROOT / "CONTRIBUTING.md").read_text(), (
        "the rooms have changed; put the output of `python tests/imports.py` into CONTRIBUTING.md"
    )


@pytest.mark.parametrize(
    "line",
    [
        "from audioxai.report import page",
        "from audioxai.report.page import write_page",
        "import audioxai.report.page",
        "def late():\n    import audioxai.report.page",
        "if TYPE_CHECKING:\n    from audioxai.report import page",
    ],
)
def test_an_import_that_runs_up_is_found(tmp_path, line):
    files = {"report.__init__": "", "report.page": "", "sound.__init__": "", "sound.files": line}
    assert imports.upward(imports.imports(package(tmp_path, **files)))[0].startswith("sound.files imports report")


def test_a_circle_is_found_however_long(tmp_path):
    files = {f"nn.{name}": f"import audioxai.nn.{other}" for name, other in ("ab", "bc", "ca", "da")}
    graph = imports.imports(package(tmp_path, **{"nn.__init__": "import audioxai.nn.d"}, **files))
    assert imports.circles(graph) == [["nn.a", "nn.b", "nn.c"]]


def test_contributing_names_files_that_exist():
    named = re.findall(
        r"`((?:audioxai|tests|benchmarks|docs|examples)/[\w/.-]+)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert len(named) > 10
    assert not [path for path in named if not (ROOT / path).exists()]
