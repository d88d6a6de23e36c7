"""The notebooks run, small, from the first cell to the last, their own assertions hold, and their players sound."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import re
from pathlib import Path

import pytest
import soundfile
from test_readme import ROOT

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat; pip install '.[dev]'")
pytest.importorskip("nbclient", reason="notebooks need nbclient; pip install '.[dev]'")
if importlib.util.find_spec("ipykernel") is None:
    pytest.skip("notebooks need ipykernel; pip install '.[dev]'", allow_module_level=True)

EXAMPLES = ROOT / "examples"
#: Notebook to smaller parameters, and how many players it must show at least.
SMALL = {
    "first_steps": ({"SECONDS": 1.0}, 11),
    "own_classifier": ({"SECONDS": 1.0, "EPOCHS": 4, "FIT_EPOCHS": 1}, 6),
    "ast": ({"EPOCHS": 1, "SCENES": 6}, 3),
    "zero_shot": ({"SECONDS": 1.0, "SCENES": 16, "EPOCHS": 1}, 6),
    "comparing": ({"SECONDS": 1.0, "CLIPS": 6}, 3),
    "planted_shortcut": ({"SECONDS": 1.0}, 4),
}
LARGEST = 400_000  # bytes of a notebook as committed


@pytest.fixture(scope="module")
def execute():
    spec = importlib.util.spec_from_file_location("execute", EXAMPLES / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kernel():
    """One kernel for all, since each would import everything anew. It is emptied in between."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel()
    client.stop_channels()
    yield manager
    manager.shutdown_kernel(now=True)


def players(execute, notebook) -> list[str]:
    """The addresses that players play, those within frames too."""
    pages = [html.unescape(data["text/html"]) for data in execute.outputs(notebook) if "text/html" in data]
    return [source for page in pages for source in re.findall(r'<(?:audio|source)[^>]*\ssrc="([^"]+)"', page)]


def check(execute, notebook, fewest: int) -> None:
    found = players(execute, notebook)
    assert len(found) >= fewest
    for source in found:
        kind, _, packed = source.partition(";base64,")
        assert kind.startswith("data:audio/")
        waveform, rate = soundfile.read(io.BytesIO(base64.b64decode(packed)))
        assert rate == 16000
        assert abs(waveform).max() > 1e-3
    assert any("image/png" in data for data in execute.outputs(notebook))


@pytest.mark.parametrize("name", SMALL)
def test_runs(name, execute, kernel):
    if name == "ast":
        pytest.importorskip("transformers", exc_type=ImportError)
    given, fewest = SMALL[name]
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready()
    client.execute("get_ipython().run_line_magic('reset', '-f')", reply=True)
    client.stop_channels()
    check(execute, execute.run(EXAMPLES / f"{name}.ipynb", given, km=kernel), fewest)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first_steps", "own_classifier", "zero_shot", "comparing", "planted_shortcut"])
def test_runs_on_real_clips(name, execute, data_root):
    given, fewest = SMALL[name]
    check(execute, execute.run(EXAMPLES / f"{name}.ipynb", {**given, "DATA": str(data_root / "esc10")}), fewest)


def test_each_is_tested_small_and_shows_pictures_without_a_run(execute):
    paths = sorted(EXAMPLES.glob("*.ipynb"))
    assert {path.stem for path in paths} == set(SMALL)
    for path in paths:
        assert path.stat().st_size < LARGEST
        shown = execute.outputs(nbformat.read(path, as_version=4))
        assert any("image/png" in data for data in shown), path.name
        assert not any("text/html" in data for data in shown), path.name


@pytest.mark.parametrize("page", ["README.md", "docs/notebooks.md"])
def test_each_is_linked(page):
    text = (ROOT / page).read_text()
    for name in SMALL:
        (link,) = re.findall(rf"\(([^()]*\b{name}\.ipynb)\)", text)
        assert (ROOT / Path(page).parent / link).is_file()
