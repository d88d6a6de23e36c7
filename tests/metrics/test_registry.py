"""Every metric by name: in its range, in every kind of evaluation, and where it needs more than it was given."""

import math
import re
from pathlib import Path

import networks
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError, InputError
from audioxai.metrics import GROUND_TRUTH, METRICS, STANDARD, Metric, clip_scores, evaluate, functional
from audioxai.metrics.invariants import check_scores
from audioxai.metrics.registry import find_metrics

PAGES = Path(__file__).parents[2] / "docs" / "metrics"


@pytest.fixture(scope="module")
def scenes():
    """Two tones each, the lower one the explained part."""
    time = torch.arange(6000) / networks.RATE
    stems = torch.stack([0.3 * torch.sin(2 * math.pi * hz * time) for hz in (300, 500, 700)])
    others = torch.stack([0.2 * torch.sin(2 * math.pi * hz * time) for hz in (2500, 3000, 3500)])
    return {"waveform": stems + others, "stem": stems, "target": torch.tensor([0, 1, 2])}


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_every_metric_of_every_space(scenes, space, multilabel):
    plain = networks.log_mel_cnn()
    classifier = ax.AudioClassifier(
        plain.network,
        sample_rate=plain.sample_rate,
        frontend=plain.frontend,
        labels=plain.labels,
        multilabel=multilabel,
    ).eval()
    methods = {"saliency": ax.Saliency(classifier, space=space), "loudest": ax.EnergyMask(classifier, space=space)}
    results = evaluate(methods, [scenes], metrics=METRICS, judges=[classifier])
    for name, scores in results.scores.items():
        assert list(scores) == [*METRICS, "judge Fid-In", "judge AD"]
        check_scores(name, scores)
        for key, values in scores.items():
            assert values.shape == (3,)
            undefined = (key == "infidelity" and name == "loudest") or (key == "AD published" and multilabel)
            assert values.isnan().all() if undefined else torch.isfinite(values).all() or key.startswith("judge"), key
    table = results.to_markdown(costs=True)
    assert "| s/clip | passes/clip |" in table
    published = "" if not multilabel else ", AD published of 3"
    judged = ", judge Fid-In of 3, judge AD of 3" if results.undefined("loudest", "judge AD") == 3 else ""
    assert f"loudest: undefined infidelity of 3{published}{judged} clip(s)" in table


def test_batches_with_stems_and_targets(scenes):
    classifier = networks.log_mel_cnn()
    explainer = ax.GradCAM(classifier, scale="magnitude")
    results = evaluate({"cam": explainer}, [scenes])
    assert list(results.scores["cam"]) == [*STANDARD, *GROUND_TRUTH]
    explanation = explainer.explain(scenes["waveform"], scenes["target"])
    parts = [
        ax.dsp.stft(part, classifier.frontend.stft).abs()
        for part in (scenes["stem"], scenes["waveform"] - scenes["stem"])
    ]
    expected = {
        "FF": functional.faithfulness(explanation.scores.input, explanation.scores.removed, scenes["target"]),
        "ratio mask": functional.ratio_mask_overlap(explanation.mask, *parts),
        "mask AUC": functional.mask_auc(explanation.mask, *parts),
        "SI-SDR": functional.si_sdr(explanation.waveform, scenes["stem"]),
        "COMP/ln n": functional.complexity(explanation.mask, relative=True),
    }
    for name, values in expected.items():
        torch.testing.assert_close(results.scores["cam"][name], values, rtol=1e-3, atol=1e-4, check_dtype=False)
    assert list(evaluate({"cam": explainer}, [scenes["waveform"]]).scores["cam"]) == list(STANDARD)


def test_insertion_asks_for_the_explained_class_of_the_given_network(scenes):
    classifier = networks.log_mel_cnn()
    explainer = ax.EnergyMask(classifier, max_batch=2)
    found = clip_scores(explainer.explain(scenes["waveform"], 3), ["insertion", "deletion"], explainer=explainer)
    analysis = explainer.space.analyse(scenes["waveform"])

    def predict(values, rows):
        with torch.no_grad():
            return classifier.probabilities(explainer.space.predict(values, analysis, rows))[:, 3]

    mask = explainer.explain(scenes["waveform"], 3).mask
    for name, function in (("insertion", functional.insertion_auc), ("deletion", functional.deletion_auc)):
        torch.testing.assert_close(found[name], function(predict, analysis.values, mask), rtol=1e-4, atol=1e-5)


def test_a_mask_on_the_log_scale_is_measured_by_what_it_does(scenes):
    """Half a mask keeps a quarter of the energy on linear magnitudes; on log1p less, and by the level."""

    class Half(ax.AllOnes):
        def _control(self, values, generators):
            return torch.full_like(values, 0.5)

    classifier = networks.log_mel_cnn()
    for scale in ("magnitude", "log1p"):
        explainer = Half(classifier, scale=scale)
        explanation = explainer.explain(scenes["waveform"], 0)
        kept = clip_scores(explanation, ["kept"], explainer=explainer, stem=scenes["stem"])["kept"]
        loud = ax.dsp.stft(explanation.waveform, classifier.frontend.stft).abs().square().sum((1, 2))
        whole = ax.dsp.stft(scenes["waveform"], classifier.frontend.stft).abs().square().sum((1, 2))
        torch.testing.assert_close(kept, loud / whole, rtol=0.1, atol=0.01)  # the sound says the same
        assert (kept < 0.2).all() if scale == "log1p" else torch.allclose(kept, torch.tensor(0.25), atol=1e-3)


def test_targets_by_label(scenes):
    classifier = networks.log_mel_cnn()
    named = {**scenes, "target": [classifier.labels[k] for k in (0, 1, 2)]}
    by_label, by_number = (evaluate([ax.EnergyMask(classifier)], [batch], metrics=["FF"]) for batch in (named, scenes))
    assert torch.equal(by_label.scores["EnergyMask"]["FF"], by_number.scores["EnergyMask"]["FF"])


def test_a_metric_of_your_own(scenes):
    classifier = networks.log_mel_cnn()
    loudness = Metric("loudness", lambda case: case.explanation.waveform.square().mean(1).sqrt(), digits=3)
    results = evaluate([ax.AllOnes(classifier)], [scenes], metrics=["MM", loudness])
    level = scenes["waveform"].square().mean(1).sqrt()
    torch.testing.assert_close(results.scores["AllOnes"]["loudness"], level, rtol=1e-3, atol=1e-4)
    assert results.rows()[0]["MM"] == "1.00"


def test_what_cannot_be_measured(scenes):
    classifier = networks.log_mel_cnn()
    explainer, clips = ax.EnergyMask(classifier), scenes["waveform"]
    with pytest.raises(ConfigError, match=r"'Fidelity' is not known; nearest: '.*Fid-In"):
        evaluate([explainer], [clips], metrics=["Fidelity"])
    for metrics in ([], ["AI", "AI"]):
        with pytest.raises(ConfigError, match="each once"):
            evaluate([explainer], [clips], metrics=metrics)
    for name in GROUND_TRUTH:
        with pytest.raises(ConfigError, match="'stem'"):
            evaluate([explainer], [clips], metrics=[name])
    with pytest.raises(InputError, match="differ in shape"):
        evaluate([explainer], [{"waveform": clips, "stem": clips[:, :100]}])
    with pytest.raises(InputError, match="3 clips, but 1 targets"):
        evaluate([explainer], [{"waveform": clips, "target": [0]}])
    explanation = explainer.explain(clips)
    for name in ("insertion", "max-sensitivity"):
        with pytest.raises(ConfigError, match="give the explainer"):
            clip_scores(explanation, [name])
    with pytest.raises(ConfigError, match="give the explainer"):
        clip_scores(ax.Saliency(classifier).explain(clips), ["infidelity"])
    with pytest.raises(ConfigError, match="needs the explainer"):
        clip_scores(explanation, ["ratio mask"], stem=scenes["stem"])


def test_every_metric_has_its_page():
    index = (PAGES / "index.md").read_text()
    for name, metric in METRICS.items():
        page = PAGES / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".md")
        text = page.read_text()
        assert text.startswith(f"# {name}"), name
        for head in ("Formula", "Range", "Direction", "Source", "What it misses"):
            assert f"\n**{head}.** " in text, (name, head)
        direction = {1: "Higher is better", -1: "Lower is better", 0: "None"}[metric.direction]
        assert f"**Direction.** {direction}" in text, name
        assert page.name in index, name


def test_names_are_found_whatever_their_case():
    for given, meant in (("ad", "'AD'"), ("FID-IN", "'Fid-In'"), ("Sir Gain", "'SIR gain'")):
        with pytest.raises(ConfigError, match=f"nearest: {meant}"):
            find_metrics([given])
