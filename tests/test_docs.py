"""The documentation: it builds without a warning, its code runs, every explainer has a page, and stated costs hold."""

import ast
import re
import subprocess
import sys
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import imports
import listeners
import networks
import pytest
import torch
from test_readme import ROOT, blocks

import audioxai as ax
import audioxai.listening  # the others are there
from audioxai.data import make_scene

DOCS = ROOT / "docs"
PAGES = [page.relative_to(DOCS).as_posix() for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts]
WITH_CODE = [page for page in PAGES if blocks(f"docs/{page}")]
EXPLAINERS = {
    name: getattr(ax, name)
    for name in ax.__all__
    if isinstance(getattr(ax, name), type) and issubclass(getattr(ax, name), ax.Explainer)
}
for base in ("Explainer", "LearnedExplainer"):
    del EXPLAINERS[base]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_names_all_that_is_public(tmp_path):
    for package in ("sphinx", "myst_parser", "furo"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed; pip install '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-d", tmp_path / "trees", DOCS]
    built = subprocess.run([*command, tmp_path / "site"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    from sphinx.util.inventory import InventoryFile

    inventory = InventoryFile.loads((tmp_path / "site" / "objects.inv").read_bytes(), uri="").data
    known = {name.rpartition(".")[2] for kind in inventory if kind.startswith("py:") for name in inventory[kind]}
    for package in (ax, ax.data, ax.listening, ax.metrics, ax.nn, ax.report, ax.training):
        assert set(package.__all__) - {"__version__", "functional"} <= known, package.__name__
    # Formulas are drawn by the browser, and nothing is fetched.
    page = (tmp_path / "site" / "methods" / "lmac.html").read_text()
    assert "<msub>" in page
    assert not re.findall(r'(?:src|stylesheet" href)="https?:', page)


def test_a_page_of_the_api_holds_the_modules_of_its_room():
    shared = {"networks": {"nn"}, "explainers": {"explainers", "testing"}, "report": {"report", "listening"}}
    pages = {path.stem: path.read_text() for path in (DOCS / "api").glob("*.md") if path.stem != "index"}
    found = {page: set(re.findall(r"auto\w+:: audioxai\.(\w+)", text)) for page, text in pages.items()}
    assert found == {page: shared.get(page, {page}) for page in pages}
    inner = {"__init__", "__main__", "_moved", "version", "support", "commands"}
    assert set().union(*found.values()) == set(imports.ROOMS) - inner


def test_names_in_prose_exist():
    named = {}
    for pattern in ("README.md", "docs/**/*.md", "examples/*", "audioxai/pretrained/*/CARD.md"):
        for path in ROOT.glob(pattern):
            named |= dict.fromkeys(re.findall(r"\b(?:ax|audioxai)\.([A-Za-z]\w*)", path.read_text()), path)
    assert len(named) > 50
    modules = {imports.room(name) for name in imports.modules()}
    assert {name: path for name, path in named.items() if name not in modules and not hasattr(ax, name)} == {}


# The code on the pages --------------------------------------------------------------------------------------------


def small_benchmark(monkeypatch):
    """A folder to benchmark, and settings for a quick run."""
    rows = ["file,label"]
    for number in range(8):
        label = ("bell", "siren")[number % 2]
        ax.save(f"CLIPS/{number}.wav", make_scene([label], seconds=0.5, seed=number).waveform, 16000)
        rows.append(f"{number}.wav,{label}")
    Path("labels.csv").write_text("\n".join(rows))
    Path("CLIPS/labels.csv").write_text("\n".join(rows))
    from audioxai.benchmark import settings

    quick = partial(settings.Settings, conditions=("id",), seconds=0.5, classifier_epochs=1)
    monkeypatch.setattr(settings, "Settings", quick)
    return {}


def fitted_methods(_monkeypatch):
    classifier = networks.log_mel_cnn()
    methods = {"GradCAM": ax.GradCAM(classifier), "loudest": ax.EnergyMask(classifier)}
    names = {name: getattr(ax.metrics, name) for name in ("robust_copy", "f_fidelity_metrics", "evaluate")}
    loader = [(networks.clips(2, 3000), torch.tensor([0, 1]))]
    robust = partial(names["robust_copy"], epochs=1, progress=False)
    return {**names, "robust_copy": robust, "classifier": classifier, "train_loader": loader, "loader": loader,
            "methods": methods}  # fmt: skip


def heard_methods(_monkeypatch):
    """Two methods, clips, and the answers of two listeners to the test that the page then makes again."""
    classifier = networks.log_mel_cnn()
    given = {"clips": networks.clips(2, 4000), "targets": ["dog", "rain"], "names": ["a.wav", "b.wav"]}
    methods = {"L-MAC": ax.IntegratedGradients(classifier, n_steps=20), "GradCAM": ax.GradCAM(classifier)}
    explained = {n: m.explain(given["clips"], given["targets"], names=given["names"]) for n, m in methods.items()}
    _, key = ax.listening.listening_test(explained, "first.html", seed=0)
    Path("answers").mkdir()
    for listener in ("one", "two"):
        listeners.answers(Path(key), Path("answers"), listener, lambda stimulus, rng: _rated(stimulus, rng))
    return {**given, "lmac": methods["L-MAC"], "gradcam": methods["GradCAM"]}


def _rated(stimulus, rng):
    best = 100 if "reference" in str(stimulus) else rng.randint(10, 80)
    return {"relevance": best, "quality": best}


def foreign_models(_monkeypatch):
    pytest.importorskip("transformers", exc_type=ImportError)
    return {}


#: What pages take for granted.
GIVEN = {
    "adapters.md": foreign_models,
    "running-benchmarks.md": small_benchmark,
    "metrics/f-fidelity.md": fitted_methods,
    "listening-test.md": heard_methods,
}


@pytest.mark.parametrize("page", WITH_CODE)
@pytest.mark.filterwarnings("ignore:.*attributions miss")
def test_code(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace = GIVEN.get(page, lambda _: {})(monkeypatch)
    for block in blocks(f"docs/{page}"):
        exec(compile(block, page, "exec"), namespace)


def test_the_page_on_adapters_quotes_errors_as_they_are():
    """Words in the table of refusals are those of some text in the code."""
    texts = set()
    for path in (ROOT / "audioxai").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for part in node.values if isinstance(node, ast.JoinedStr) else [node]:
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    texts.add(part.value)
    page = (DOCS / "adapters.md").read_text().partition("## What is refused")[2].partition("\n## ")[0]
    quoted = re.findall(r"\| `([^`]+)` \|$", page, re.MULTILINE)
    assert len(quoted) >= 20
    assert [words for words in quoted if not any(words in text for text in texts)] == []


# Methods ----------------------------------------------------------------------------------------------------------


def described():
    """Class to (page, passes with a class given, passes for the predicted class), from the table of methods."""
    row = r"^\| \[(\w+)\]\(([\w-]+\.md)\) \|.*\| `(.+?)` \| `(.+?)` \|$"
    return {name: rest for name, *rest in re.findall(row, (DOCS / "methods" / "index.md").read_text(), re.MULTILINE)}


def test_every_public_explainer_has_a_page_that_names_it():
    table = described()
    assert set(table) == set(EXPLAINERS)
    assert len({page for page, *_ in table.values()}) == len(table)
    for name, (page, *_) in table.items():
        text = (DOCS / "methods" / page).read_text()
        assert f"autoclass:: audioxai.{name}\n" in text
        for part in ("**Formula.**", "**Source.**", "**Cost.**", "**Distrust it**"):
            assert part in text, f"{page} lacks {part}"


OPTIONS = {
    "LMAC": {"width": 8}, "LMACZS": {"width": 8}, "LMACTD": {"channels": 8}, "L2I": {"components": 4, "width": 8},
    "SmoothGrad": {"n_samples": 7}, "IntegratedGradients": {"n_steps": 11}, "GScoreCAM": {"k": 5},
    "GradientSHAP": {"n_samples": 7}, "KernelSHAP": {"n_samples": 20, "tiles": (2, 3)}, "Occlusion": {"tiles": (2, 3)},
    "LIME": {"n_samples": 20, "tiles": (2, 3)},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPLAINERS)
def test_stated_passes_are_those_that_are_made(name):
    classifier, clip = networks.log_mel_cnn(), networks.clips(1, 3000)
    if name == "LMACZS":
        classifier = networks.zero_shot(classifier)
    explainer = EXPLAINERS[name](classifier, **OPTIONS.get(name, {}))
    if isinstance(explainer, ax.LearnedExplainer):
        explainer.fit([networks.clips(2, 3000)], epochs=1, progress=False)
    symbols = {key: getattr(explainer, key, None) for key in ("n_samples", "n_steps", "k")} | {"P": 6, "C": 16}
    rows = []
    classifier.network.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    for target, stated in zip((0, None), described()[name][1:], strict=True):
        rows.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so few steps miss completeness
            explainer.explain(clip, target)
        assert sum(rows) == eval(stated, {}, symbols), (name, target, stated)
