"""Every metric by name: by the book, in its range, in every kind of evaluation, and where it needs more than is given.

What is registered is tested here; a new metric adds its oracle to ``oracles.py`` and its page to the docs.
"""

import inspect
import math
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path

import every_metric
import networks
import oracles
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError, InputError
from audioxai.metrics import (
    GROUND_TRUTH,
    METRICS,
    STANDARD,
    ImpossibleScoresError,
    Metric,
    Results,
    clip_scores,
    evaluate,
    functional,
)
from audioxai.metrics.invariants import check_scores
from audioxai.metrics.registry import find_metrics, register

sys.path.append(str(Path(__file__).parents[2] / "docs" / "_ext"))
import metric_pages


@pytest.fixture(scope="module")
def scenes():
    """Two tones each, the lower one the explained part."""
    time = torch.arange(6000) / networks.RATE
    stems = torch.stack([0.3 * torch.sin(2 * math.pi * hz * time) for hz in (300, 500, 700)])
    others = torch.stack([0.2 * torch.sin(2 * math.pi * hz * time) for hz in (2500, 3000, 3500)])
    return {"waveform": stems + others, "stem": stems, "target": torch.tensor([0, 1, 2])}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.function])
def test_every_function_by_the_book(name, seed):
    """Clip by clip, whatever the clips beside it; without a value where the formula has none."""
    metric = METRICS[name]
    oracle = getattr(oracles, metric.function.__name__)
    names = inspect.signature(oracle).parameters
    for batch in every_metric.batches(seed):
        found = metric.measure(*every_metric.given(metric.function, batch))
        assert found.shape == (len(batch["mask"]),)
        for i, value in enumerate(found.tolist()):
            clip = every_metric.clip(batch, i)
            try:
                expected = oracle(**{asked: clip[asked] for asked in names if asked in clip})
                expected = expected if metric.part is None else expected[metric.part]
            except (ZeroDivisionError, ValueError):  # divided by nothing, or the logarithm of nothing
                expected = math.nan
            close = 1e-9 if found.dtype == torch.float64 else 1e-4
            assert value == pytest.approx(expected, rel=close, abs=1e-9, nan_ok=True), i
            assert math.isnan(value) or metric.low <= value <= metric.high


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
    explainer = ax.GradCAM(networks.log_mel_cnn(), scale="magnitude")
    assert list(evaluate([explainer], [scenes]).scores["GradCAM"]) == [*STANDARD, *GROUND_TRUTH]
    assert list(evaluate([explainer], [scenes["waveform"]]).scores["GradCAM"]) == list(STANDARD)


def test_a_case_gives_each_function_what_it_takes(scenes):
    """The figure of a metric is that of its function, of what its arguments are called."""
    classifier, (clips, stem, target) = networks.log_mel_cnn(), scenes.values()
    explainer = ax.GradCAM(classifier, scale="magnitude", max_batch=2)  # on magnitudes, masks are gains
    explanation = explainer.explain(clips, target)
    found = clip_scores(explanation, METRICS, explainer=explainer, stem=stem)
    analysis = explainer.space.analyse(clips)

    def predict(values, rows):
        with torch.no_grad():
            probs = classifier.probabilities(explainer.space.predict(values, analysis, rows))
        return probs.gather(1, target[rows][:, None])[:, 0]

    p, kept, removed = explanation.scores
    values, of_stem, of_other = (ax.dsp.stft(x, classifier.frontend.stft).abs() for x in (clips, stem, clips - stem))
    inputs = {
        "probs": p, "probs_kept": kept, "probs_removed": removed, "target": target, "mask": explanation.mask,
        "stem": of_stem, "other": of_other, "kept": explanation.waveform, "clip": clips, "predict": predict,
        "values": values, "estimate": explanation.waveform, "reference": stem, "explainer": explainer,
        "waveform": clips,
    }  # fmt: skip
    for name, metric in METRICS.items():
        if metric.function and name != "infidelity":  # whose perturbations are drawn
            sounds = {"stem": stem, "other": clips - stem} if name == "SI-SAR" else {}
            expected = metric.measure(*every_metric.given(metric.function, inputs | sounds))
            torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-3, check_dtype=False, msg=name)
    torch.testing.assert_close(found["COMP/ln n"], functional.complexity(explanation.mask, relative=True))


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


def test_a_metric_of_your_own(scenes, tmp_path):
    """Its range, direction and digits go with its scores: into tables, pictures and files."""
    loudness = Metric("loudness", lambda case: case.explanation.waveform.square().mean(1).sqrt(), -1, 0, 0.3, 3)
    results = evaluate([ax.AllOnes(networks.log_mel_cnn())], [scenes], metrics=["MM", loudness])
    level = scenes["waveform"].square().mean(1).sqrt()
    torch.testing.assert_close(results.scores["AllOnes"]["loudness"], level, rtol=1e-3, atol=1e-4)
    results.save(tmp_path / "scores")
    for made in (results, Results.load(tmp_path / "scores"), pickle.loads(pickle.dumps(results))):
        assert made.rows() == [{"": "AllOnes", "MM": "1.00", "loudness": f"{level.mean():.3f}"}]
        assert made.plot().axes[1].get_title() == "loudness ↓"
        with pytest.raises(ConfigError, match="column of finished results"):
            made.own["loudness"].compute(None)
        made.scores["AllOnes"]["loudness"] = 2 * level
        with pytest.raises(ImpossibleScoresError, match=r"loudness outside 0 to 0\.3"):
            made.to_markdown()
    for facts in ({"direction": 2}, {"low": 1, "high": 0}, {"class_name": "Loudness"}):
        with pytest.raises(ConfigError, match=f"{next(iter(facts))}=.* of metric 'loudness'"):
            Metric("loudness", loudness.compute, **facts)


def test_a_name_is_taken_once():
    own = Metric("AD", METRICS["AD"].compute)
    with pytest.raises(ConfigError, match="the name 'AD'"):
        register([*METRICS.values(), own])
    with pytest.raises(ConfigError, match="the class_name 'AverageDrop'"):
        register([METRICS["AD"], replace(METRICS["AD"], name="drop")])


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


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_its_page(name):
    metric = METRICS[name]
    text = metric_pages.page_of(name).read_text()
    assert text.startswith(f"# {name}: ")
    parts = dict(re.findall(r"\n\*\*(.+?)\.\*\* (.+)", text))
    assert list(parts) == ["Formula", "Range", "Direction", "Source", "What it misses"]
    direction = {1: "Higher is better", -1: "Lower is better", 0: "None"}[metric.direction]
    assert parts["Direction"].startswith(direction)
    numbers = re.findall(r"-?\d+(?:\.\d+)?", parts["Range"].replace("−", "-"))
    assert {f"{end:.4g}" for end in (metric.low, metric.high) if math.isfinite(end)} <= set(numbers)


def test_the_index_has_every_page_once():
    table = metric_pages.table()
    linked = re.findall(r"^\| \[.+?\]\((.+?)\) \|", table, re.MULTILINE)
    assert sorted(linked) == sorted(page.name for page in metric_pages.PAGES.glob("*.md") if page.name != "index.md")
    assert linked[: len(METRICS)] == [metric_pages.page_of(name).name for name in METRICS]
    assert "| [AD](ad.md) | average drop | lower | 0 to 100 | `AverageDrop` |" in table.splitlines()


def test_names_are_found_whatever_their_case():
    for given, meant in (("ad", "'AD'"), ("FID-IN", "'Fid-In'"), ("Sir Gain", "'SIR gain'")):
        with pytest.raises(ConfigError, match=f"nearest: {meant}"):
            find_metrics([given])
