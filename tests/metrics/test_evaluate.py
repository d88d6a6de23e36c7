"""Scoring a data set: against a loop by the book, and the table of results."""

import math

import networks
import numpy as np
import oracles
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError, InputError
from audioxai.metrics import STANDARD, Results, clip_scores, evaluate, judge_scores


@pytest.fixture(scope="module")
def classifier():
    return networks.log_mel_cnn()


def by_the_book(explainer, clips):
    """One clip at a time, through the front end, with plain floats."""
    classifier, rows = explainer.classifier, []
    for clip in clips:
        result = explainer.explain(clip)
        space = explainer.space
        analysis = space.analyse(clip[None])
        probabilities = []
        with torch.no_grad():
            for mask in (torch.ones_like(result.mask), result.mask, 1 - result.mask):
                logits = classifier.network(space.features(mask * analysis.values, analysis)).double()
                probabilities.append(oracles.softmax(logits.numpy())[0].tolist())
        cells = result.mask[0, ::9, ::5].flatten().tolist()  # the naive Gini is quadratic
        rows.append((oracles.clip_metrics(*probabilities), result.mask.mean().item(), cells))
    return rows


@pytest.mark.parametrize("scale", ["log1p", "magnitude"])
def test_a_data_set_by_the_book(classifier, scale):
    clips = networks.clips(5, 4000)
    named = {"cam": ax.GradCAM(classifier, scale=scale), "energy": ax.EnergyMask(classifier, scale=scale)}
    results = evaluate(named, [clips[:2], (clips[2:4], torch.tensor([0, 1])), {"waveform": clips[4:]}])
    assert list(results.scores) == ["cam", "energy"]
    for name, explainer in named.items():
        assert list(results.scores[name]) == list(STANDARD)
        rows = by_the_book(explainer, clips)
        for i, (values, mean, _) in enumerate(rows):
            for key, value in {**values, "MM": mean}.items():
                assert results.scores[name][key][i].item() == pytest.approx(value, rel=1e-3, abs=2e-3), (name, key)
        for key in ("AI", "AD", "AG", "FF", "Fid-In"):
            expected = sum(values[key] for values, _, _ in rows) / 5
            assert results.mean(name, key) == pytest.approx(expected, rel=1e-3, abs=2e-3)


def test_how_clips_are_batched_does_not_matter(classifier):
    clips = networks.clips(5, 4000)
    explainers = {"cam": ax.GradCAM(classifier, max_batch=2)}
    whole, single = (evaluate(explainers, list(clips.split(n))).scores["cam"] for n in (5, 1))
    for name in STANDARD:
        torch.testing.assert_close(whole[name], single[name], rtol=1e-3, atol=1e-3)


def test_gini_and_entropy_of_a_coarse_mask(classifier):
    result = ax.GradCAM(classifier, space="waveform").explain(networks.clips(2, 300))
    scores = clip_scores(result)
    for i, mask in enumerate(result.mask.tolist()):
        assert scores["SPS"][i].item() == pytest.approx(oracles.gini(mask), rel=1e-5)
        assert scores["COMP"][i].item() == pytest.approx(oracles.entropy(mask), rel=1e-5)


def test_a_given_target_is_scored(classifier):
    clips = networks.clips(3, 4000)
    explanation = ax.EnergyMask(classifier).explain(clips, 2)
    scores = clip_scores(explanation)
    p, kept, removed = explanation.scores
    torch.testing.assert_close(scores["FF"], p[:, 2] - removed[:, 2])
    assert scores["AI"].tolist() == [100.0 * bool(b > a) for a, b in zip(p[:, 2], kept[:, 2], strict=True)]
    with pytest.raises(InputError, match="one target class"):
        clip_scores(ax.EnergyMask(classifier).explain(clips, lambda logits: logits[:, 0]))


def test_judges_score_where_they_agree(classifier):
    clips = networks.clips(6, 4000)
    explanation = ax.EnergyMask(classifier).explain(clips)
    own = judge_scores(explanation, classifier)
    plain = clip_scores(explanation)
    for name in ("Fid-In", "AD"):
        torch.testing.assert_close(own[f"judge {name}"], plain[name], rtol=1e-3, atol=1e-3)
    other = networks.log_mel_cnn()
    with torch.no_grad():
        other.network.head.bias += torch.tensor([9.0, 0, 0, 0])  # this judge only ever hears a dog
    judged = judge_scores(explanation, other)["judge AD"]
    assert judged.isnan().tolist() == (explanation.target != 0).tolist()
    results = evaluate({"energy": ax.EnergyMask(classifier)}, [clips], judges=[classifier, other])
    assert list(results.scores["energy"]) == [*STANDARD, "judge Fid-In", "judge AD"]
    assert results.undefined("energy", "judge AD") == 0
    for judge in (classifier, other):
        assert not judge.training
        assert all(p.requires_grad for p in judge.parameters())


def test_a_judge_with_another_grid_is_refused(classifier):
    explanation = ax.EnergyMask(classifier, space="mel").explain(networks.clips(1, 4000))
    with pytest.raises(ConfigError, match="same front end"):
        judge_scores(explanation, networks.waveform_cnn())


def test_a_judge_of_other_classes_or_rate_is_refused(classifier):
    explanation = ax.EnergyMask(classifier).explain(networks.clips(1, 4000))
    other = ax.AudioClassifier(
        classifier.network, sample_rate=classifier.sample_rate, frontend=classifier.frontend,
        labels=classifier.labels[::-1],
    )  # fmt: skip
    with pytest.raises(ConfigError, match="must number the same classes alike"):
        judge_scores(explanation, other)
    fast = ax.AudioClassifier(networks.waveform_cnn().network, sample_rate=2 * classifier.sample_rate)
    with pytest.raises(ConfigError, match="use one rate"):
        judge_scores(explanation, fast)


def test_what_cannot_be_evaluated(classifier):
    with pytest.raises(InputError, match="no batch"):
        evaluate([ax.AllOnes(classifier)], [])
    with pytest.raises(ConfigError, match="share a name"):
        evaluate([ax.AllOnes(classifier), ax.AllOnes(classifier)], [networks.clips()])
    with pytest.raises(ConfigError, match="no explainer"):
        evaluate([], [networks.clips()])
    with pytest.raises(ax.NotFittedError):
        evaluate([ax.LMAC(classifier, start=None)], [networks.clips()])


def table(**columns):
    return Results({"method": {name: torch.tensor(values) for name, values in columns.items()}})


def test_means_leave_out_what_is_undefined_and_count_it():
    results = table(SPS=[0.25, math.nan, 0.75], AI=[math.nan] * 3)
    assert results.mean("method", "SPS") == 0.5
    assert results.undefined("method", "SPS") == 1
    assert results.undefined("method", "AI") == 3
    assert math.isnan(results.mean("method", "AI"))
    lines = results.to_markdown().splitlines()
    assert lines[2] == "| method | 0.50 | – |"
    assert lines[-1] == "method: undefined SPS of 1, AI of 3 clip(s), left out of the mean."


def test_intervals_cover_the_mean_and_shrink():
    values = np.random.default_rng(0).normal(3, 1, 400)
    small, large = table(FF=values[:25].tolist()), table(FF=values.tolist())
    for results, n in ((small, 25), (large, 400)):
        low, high = results.interval("method", "FF")
        assert low < results.mean("method", "FF") < high
        assert high - low == pytest.approx(2 * 1.96 * values[:n].std() / n**0.5, rel=0.15)
    assert large.interval("method", "FF") == large.interval("method", "FF")
    narrow, wide = (large.interval("method", "FF", level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_intervals_of_too_few_or_equal_clips():
    assert all(math.isnan(v) for v in table(FF=[0.5]).interval("method", "FF"))
    assert all(math.isnan(v) for v in table(FF=[0.5, math.nan]).interval("method", "FF"))
    assert table(FF=[0.5, 0.5]).interval("method", "FF") == (0.5, 0.5)


def test_the_markdown_table():
    results = Results(
        {
            "a|b": {"AI": torch.tensor([100.0, 0, 0]), "Fid-In": torch.tensor([1.0, 1, 0])},
            "other": {"AI": torch.tensor([0.0, 0, 0]), "Fid-In": torch.tensor([1.0, 1, 1])},
        }
    )
    lines = results.to_markdown().splitlines()
    assert lines == ["| | AI | Fid-In |", "|---|---:|---:|", r"| a\|b | 33.3 | 0.67 |", "| other | 0.0 | 1.00 |"]


@pytest.mark.parametrize("where", ["waveform", "stem"])
def test_one_bad_clip_does_not_lose_the_others(classifier, where):
    batches = [{"waveform": clips, "stem": 0.5 * clips} for clips in networks.clips(4, 4000).split(2)]
    whole = evaluate([ax.AllOnes(classifier)], batches, metrics=["AD", "kept"])
    batches[1] = {name: value.clone() for name, value in batches[1].items()}
    batches[1][where][0, 5] = math.nan
    found = evaluate([ax.AllOnes(classifier)], batches, metrics=["AD", "kept"])
    assert list(found.failures["AllOnes"]) == [2]
    assert "NaN" in found.failures["AllOnes"][2]
    for name in ("AD", "kept"):
        scores, expected = found.scores["AllOnes"][name], whole.scores["AllOnes"][name]
        assert scores[2].isnan()
        torch.testing.assert_close(scores[[0, 1, 3]], expected[[0, 1, 3]])
