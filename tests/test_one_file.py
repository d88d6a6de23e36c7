"""One file makes an explainer, a metric, an adapter or a data set known to commands, tables and tests."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import networks
import pytest

import audioxai as ax
from audioxai import adapters, explainers
from audioxai.adapters import ADAPTERS
from audioxai.benchmark.run import run
from audioxai.benchmark.settings import Settings
from audioxai.commands.main import main
from audioxai.errors import ConfigError
from audioxai.explainers.registry import EXPLAINERS, register

ROOT = Path(__file__).parents[1]
TOYS = {
    "toy_explainer": """
import audioxai as ax
from audioxai.explainers.registry import register

@register("toy")
class Toy(ax.Explainer):
    def _attribute(self, values, score):
        return values.square()
""",
    "toy_metric": """
from audioxai.metrics import METRICS, Metric

METRICS["toy"] = Metric("toy", lambda case: case.explanation.mask.flatten(1).amax(1), 1, 0, 1)
""",
    "toy_adapter": """
import audioxai as ax
from audioxai.adapters import ADAPTERS

ADAPTERS["from_toy"] = __name__

def from_toy(network):
    return ax.AudioClassifier(network, sample_rate=8000, frontend=ax.LogMel(8000, 32), labels=["a", "b", "c", "d"])
""",
    "toy_data": """
from audioxai.data import LabelledClips
from audioxai.data.registry import Split, register

@register("toy")
def toy(root, **options):
    train, test = (
        LabelledClips(root, sorted(root.glob(f"{part}-*.wav")), [0, 1], ["a", "b"], **options) for part in ("x", "y")
    )
    return Split(train, test, train, "x trains, y is explained")
""",
    "own": """
import toy_adapter, toy_explainer
from audioxai import from_toy
from networks import log_mel_cnn

def build():
    return from_toy(log_mel_cnn().network)
""",
}
CLIPS = networks.clips(4, 3000)


@pytest.fixture
def toys(tmp_path, monkeypatch, registries):
    """The files in an empty folder with four clips, imported."""
    for name, text in TOYS.items():
        (tmp_path / f"{name}.py").write_text(text)
    for name, clip in zip(("x-0", "x-1", "y-0", "y-1"), CLIPS, strict=True):
        ax.save(tmp_path / f"{name}.wav", clip, 8000)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield [importlib.import_module(name) for name in TOYS]
    for name in TOYS:
        del sys.modules[name]


@pytest.mark.usefixtures("toys")
def test_the_command_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["explain", "--help"])
    assert ended.value.code == 0
    assert "energy, toy." in " ".join(capsys.readouterr().out.replace("│", " ").split())
    with pytest.raises(SystemExit) as ended:
        main(["explain", "y-0.wav", "--method", "toy"])
    assert ended.value.code == 0, capsys.readouterr().err
    assert ax.Explanation.load("explained").method == "Toy"


@pytest.mark.usefixtures("toys")
def test_the_module_of_the_classifier_may_bring_explainer_and_adapter():
    command = [sys.executable, "-m", "audioxai", "explain", "y-0.wav", "--classifier", "own:build", "--method", "toy"]
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(command, env=where, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    explained = ax.Explanation.load("explained")
    assert (explained.method, explained.labels) == ("Toy", ("a", "b", "c", "d"))


def test_the_tables(toys, tmp_path):
    classifier = ax.from_toy(networks.log_mel_cnn().network)
    results = ax.evaluate([toys[0].Toy(classifier), ax.AllOnes(classifier)], [CLIPS], metrics=["AI", "toy"])
    assert results.mean("AllOnes", "toy") == 1
    assert "| toy" in results.to_markdown()
    settings = Settings(
        "toy", tmp_path, tmp_path / "out", classifier=classifier, conditions=("id",), methods=("toy",), seconds=0.4
    )
    (table,) = run(settings, lambda _: None).tables
    assert list(table.results.scores) == ["AllOnes", "RandomMask", "EnergyMask", "Toy"]
    assert (table.data, table.clips, table.published()) == ("toy", 2, [])


@pytest.mark.usefixtures("toys")
def test_the_promises_of_every_explainer(tmp_path):
    which = ["tests/contract/test_contract.py", "-k", "test_contract and Toy and log-mel"]
    command = [sys.executable, "-m", "pytest", "-v", "-p", "toy_explainer", "-p", "no:cacheprovider", *which]
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    done = subprocess.run(command, cwd=ROOT, env=where, capture_output=True, text=True)
    assert done.returncode == 0 and " 3 passed" in done.stdout, done.stdout


# The lists --------------------------------------------------------------------------------------------------------


def test_what_is_listed_is_registered_in_the_same_order():
    listed = [name for name in explainers.__all__ if name not in ("Explainer", "LearnedExplainer")]
    assert [kind.__name__ for kind in EXPLAINERS.values()] == listed
    assert set(ADAPTERS) == set(adapters.__all__)
    assert {*explainers.__all__, *ADAPTERS} <= set(ax.__all__)
    assert len(set(ax.__all__)) == len(ax.__all__)
    for name in ADAPTERS:
        assert getattr(ax, name).__module__ == ADAPTERS[name]


@pytest.mark.parametrize(
    ("name", "kind", "fault"),
    [
        ("gradcam", type("Other", (ax.Explainer,), {}), "'gradcam' is audioxai.explainers.cam.GradCAM already"),
        ("again", ax.GradCAM, "registered already, as 'gradcam'; it cannot be 'again'"),
        ("other", type("GradCAM", (ax.Explainer,), {}), "'gradcam' is a class GradCAM too"),
        ("a,b", type("Other", (ax.Explainer,), {}), "'a,b' cannot name"),
        ("all", type("Other", (ax.Explainer,), {}), "'all' cannot name"),
        ("other", int, "subclasses of audioxai.Explainer; got <class 'int'>"),
    ],
)
def test_names_and_classes_are_taken_once(name, kind, fault):
    before = dict(EXPLAINERS)
    with pytest.raises(ConfigError, match=fault):
        register(name)(kind)
    assert before == EXPLAINERS


@pytest.mark.usefixtures("toys")
def test_a_class_that_is_defined_anew_takes_its_own_place():
    known = list(EXPLAINERS)
    old = EXPLAINERS["toy"]
    exec(TOYS["toy_explainer"], {"__name__": "toy_explainer"})
    assert list(EXPLAINERS) == known
    assert EXPLAINERS["toy"] is not old


@pytest.mark.slow
def test_type_checkers_see_what_is_listed(tmp_path):
    (tmp_path / "user.py").write_text(
        "from audioxai import AllOnes, Explanation, explain_dataset, from_huggingface, load_pretrained\n"
        "explanation: Explanation = AllOnes(load_pretrained().classifier).explain('x.wav')\n"
        "classifier = from_huggingface('x')\nreveal_type(classifier)\nreveal_type(explain_dataset)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "user.py"]
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=where, capture_output=True, text=True)
    assert "no issues found" in done.stdout, done.stdout
    assert 'Revealed type is "audioxai.classifiers.base.AudioClassifier"' in done.stdout
    assert "DatasetReport" in done.stdout
