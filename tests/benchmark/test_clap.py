"""The benchmark on a zero-shot classifier that it trains itself."""

import pytest
import torch
from benchmark import trees

import audioxai as ax
from audioxai.benchmark.networks import trained_network, training_identity
from audioxai.benchmark.protocol import load_data
from audioxai.benchmark.run import run
from audioxai.benchmark.run_files import Store
from audioxai.benchmark.settings import Settings
from audioxai.nn import CompactCLAP


@pytest.fixture(scope="module")
def esc(tmp_path_factory):
    return trees.esc50(tmp_path_factory.mktemp("data") / "esc")


def test_prompts_are_the_labels_and_a_second_one_judges(esc, tmp_path):
    settings = Settings(
        "esc50", esc, tmp_path, conditions=("id", "mixtures"), seconds=1.0, epochs=1, classifier_epochs=1,
        methods=("gradcam", "lmac"), network="clap",
    )  # fmt: skip
    lines = []
    report = run(settings, lines.append)
    assert sum(line.startswith("training clap") for line in lines) == 2
    for table in report.tables:
        assert table.network == "clap"
        assert {"judge AD", "AI"} <= set(table.results.scores["L-MAC (evidence)"])
        assert set(table.prompts) == set(table.results.scores)
        assert table.prompts["AllOnes"]["within clips"] == 0 and table.prompts["EnergyMask"]["wrong, Spearman"] == 1
        assert table.prompts["EnergyMask"]["random tower"] == table.prompts["EnergyMask"]["wrong / right"] == 1
        assert table.prompts["GradCAM"]["wrong, Spearman"] < 1
        assert "| random embedding |" in table.to_markdown() and table.to_json()["prompts"]["GradCAM"]
    lines.clear()
    run(settings, lines.append)
    assert len(lines) == 1
    data = load_data("esc50", esc, seconds=1.0)
    kept = trained_network(
        Store(tmp_path), data, "clap", 0, epochs=1, device=torch.device("cpu"), trained_on=training_identity(data),
        say=lines.append,
    )  # fmt: skip
    assert len(lines) == 1
    assert isinstance(kept, ax.ZeroShotClassifier)
    assert kept.labels == data.train.labels
    assert kept.templates == ("the sound of {}",)


def test_prompts_and_template_decide_an_explanation():
    clap = CompactCLAP(8)

    def made(**options):
        given = {"prompts": ["dog", "rain"], "frontend": ax.LogMel(16000), **options}
        return ax.ZeroShotClassifier(clap.audio, clap.text, sample_rate=16000, **given).identity()

    assert made() == made()
    assert made() != made(template="a {}")
    assert made(prompts={"dog": "a dog", "rain": "rain"}) != made()
