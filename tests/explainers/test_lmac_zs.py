"""LMAC-ZS: its loss by the book, what it is fitted on, and its prompts."""

import clap_models
import learned
import networks
import numpy as np
import oracles
import pytest
import torch
from band_clap import BANDS, band_clap, batches, clips
from learned import step

import audioxai as ax
from audioxai.adapters.clap import from_clap
from audioxai.errors import ClassifierError, ConfigError, InputError, NotFittedError, TargetError
from audioxai.nn.prompt_decoder import CONDITIONINGS
from audioxai.training.losses import stem_guidance

CLIPS, CLASSES = clips(24)
QUICK = {"epochs": 1, "progress": False}


def fresh(classifier=None, **options):
    return learned.fresh(ax.LMACZS, classifier or band_clap(), **{"width": 8, **options})


# The loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("diversity", ["cosine", "geometry", "l1"])
def test_the_loss_follows_from_the_explanations(space, diversity):
    weights = {"sim": 3.0, "s": 0.7, "d": 0.3, "in": 2.0, "out": 1.5, "g": 0.9}
    options = {f"lambda_{name}": value for name, value in weights.items()}
    explainer = fresh(networks.zero_shot(), space=space, diversity=diversity, mixing=0.0, prompts_per_clip=2, **options)
    classifier, waveform = explainer.classifier, networks.clips(4, 2500)
    losses = step(explainer, waveform)
    own = explainer.explain(waveform)
    pairs = [own, explainer.explain(waveform, own.target.roll(1))]
    text = classifier.text_embeddings
    alike = text @ text.T
    expected = {name: [] for name in ("sim", "mask", "in", "out", "guide", "diversity")}
    for result in pairs:
        with torch.no_grad():
            kept = explainer.space.predict(
                result.mask * explainer.space.analyse(waveform).values, explainer.space.analyse(waveform)
            )
            before = classifier(waveform)
        for i, k in enumerate(result.target.tolist()):
            c = int(own.target[i])
            expected["sim"].append(float(before[i, k] - kept[i, k]) / classifier.temperature)
            expected["mask"].append(float(result.mask[i].mean()))
            power = explainer.space.magnitude(explainer.space.analyse(waveform[i : i + 1])).square()
            share = stem_guidance(result.mask[i : i + 1], power, power)[0].item()
            expected["guide"].append(0.0 if k == c else share * (1 - max(0, float(alike[k, c]))))
            if k == c:
                expected["in"].append(-np.log(float(result.scores.kept[i, k])))
    expected["sim"] = np.abs(expected["sim"])
    expected["out"] = [-np.log(1 - float(p[k])) for p, k in zip(own.scores.removed, own.target, strict=True)]
    expected["diversity"] = [
        oracles.prompt_diversity(
            [pair.mask[i].flatten().tolist() for pair in pairs],
            [text[pair.target[i]].tolist() for pair in pairs],
            diversity,
        )
        for i in range(4)
    ]
    total = 0.0
    for name, weight in zip(("sim", "mask", "diversity", "in", "out", "guide"), weights.values(), strict=True):
        assert losses[name] == pytest.approx(np.mean(expected[name]), rel=2e-3, abs=1e-4), name
        total += weight * np.mean(expected[name])
    assert losses["loss"] == pytest.approx(total, rel=2e-3)


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("scale", ["magnitude", "log1p"])
def test_all_ones_match_the_similarity_and_all_zeros_are_silence(space, scale, monkeypatch):
    explainer = fresh(networks.zero_shot(), space=space, scale=scale, mixing=0.0, lambda_s=0.0, lambda_d=0.0)
    classifier, waveform = explainer.classifier, networks.clips(4, 2500)
    with torch.no_grad():
        silence = classifier.embed_audio(torch.zeros(1, 2500)) @ classifier.text_embeddings.T
        similarity = classifier.embed_audio(waveform) @ classifier.text_embeddings.T

    def draw(logit):
        monkeypatch.setattr(explainer, "_draw", lambda maps, e, logits, target, a: torch.full_like(a.values, logit))

    draw(50.0)
    ones = step(explainer, waveform)
    assert ones["sim"] == pytest.approx(0, abs=1e-5)
    assert ones["mask"] == pytest.approx(1)
    assert ones["silence"] == pytest.approx(float(silence.mean()), abs=1e-5)
    draw(-50.0)
    asked = similarity.argmax(1)
    explainer.prompts_per_clip = 1
    zeros = step(explainer, waveform)
    gap = [(similarity[i, k] - silence[0, k]).abs().item() for i, k in enumerate(asked.tolist())]
    assert zeros["sim"] == pytest.approx(np.mean(gap), abs=1e-5)
    assert zeros["guide"] == pytest.approx(0, abs=1e-6)


def test_a_mixture_loses_nothing_by_becoming_clearer(monkeypatch):
    """The mask that keeps the clip's own band alone is the best there is."""
    explainer = fresh(mixing=1.0, prompts_per_clip=2, lambda_s=0.0, lambda_d=0.0)
    bands = explainer.classifier.network.encoder.bands[:3]

    def right(maps, evidence, logits, target, analysis):
        return (200 * bands[target.classes] - 100)[:, :, None].expand_as(analysis.values)

    monkeypatch.setattr(explainer, "_draw", right)
    found = step(explainer, CLIPS[:8])
    for name in ("sim", "in", "out", "guide"):
        assert found[name] < 0.02, name
    monkeypatch.setattr(explainer, "_draw", lambda *given: -right(*given))
    wrong = step(explainer, CLIPS[:8])
    assert wrong["guide"] > 1.5
    assert wrong["sim"] > 0.3


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_gradients_reach_the_decoder_and_not_the_clap(conditioning):
    explainer = fresh(networks.zero_shot(), conditioning=conditioning)
    explainer.decoder_.train()
    with explainer._untouched():
        explainer.training_step(networks.clips(4, 2500))["loss"].backward()
    assert all(p.grad is None for p in explainer.classifier.parameters())
    for name, parameter in explainer.decoder_.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_half_precision_gives_nearly_the_same_losses(conditioning):
    found = []
    for precision in ("no", "bf16"):
        explainer = ax.LMACZS(networks.zero_shot(), conditioning=conditioning, width=8)
        found.append(explainer.fit([networks.clips(4, 2500)], precision=precision, **QUICK).history_[0])
    for name in ("loss", "sim", "mask", "in", "out", "guide", "diversity", "silence"):
        assert found[1][name] == pytest.approx(found[0][name], rel=0.1, abs=0.01), name


@pytest.mark.parametrize("beside", [["low"] * 8, ["low in the evening", "low in the morning"] * 4])
def test_captions_that_mean_the_same_do_not_compete(beside):
    explainer = fresh(mixing=1.0)
    with explainer._untouched():
        found = explainer._step((CLIPS[:8], beside))
    assert found["in"].item() == found["out"].item() == 0
    assert torch.isfinite(found["loss"])
    found["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in explainer.decoder_.parameters() if p.grad is not None)


# Batches --------------------------------------------------------------------------------------------------------------


def test_captions_classes_and_clips_alone_are_the_same_where_the_classifier_is_right():
    names = [list(BANDS)[k] for k in CLASSES]
    given = [
        batches(),
        batches(beside=names),
        [part for part, _ in batches()],
        [(part.numpy(), kinds.numpy()) for part, kinds in batches()],
        [{"waveform": part, "label": kinds.tolist()} for part, kinds in batches()],
        [{"audio": part, "caption": texts} for part, texts in batches(beside=names)],
    ]
    masks = []
    for loader in given:
        options = {"prompts_per_clip": 2, "width": 8}
        masks.append(ax.LMACZS(band_clap(), **options).fit(loader, **QUICK).explain(CLIPS[:3]).mask)
    for mask in masks[1:]:
        torch.testing.assert_close(mask, masks[0], rtol=0, atol=1e-4)


def test_classes_are_taken_at_their_word():
    wrong = (CLASSES + 1) % 3
    masks = [
        ax.LMACZS(band_clap(), width=8).fit(batches(beside=c), **QUICK).explain(CLIPS[:3]).mask
        for c in (CLASSES, wrong)
    ]
    assert not torch.allclose(masks[0], masks[1], atol=1e-3)


@pytest.mark.parametrize(
    ("beside", "error", "message"),
    [
        (["low"] * 7, InputError, "8 clips need as many captions; got 7"),
        (["low"] * 7 + [" "], ConfigError, "blank"),
        (["low"] * 7 + [3], InputError, "list of 8 captions"),
        (["low"] * 7 + [["low", "high"]], InputError, "list of 8 captions"),
        (torch.full((8,), 3), InputError, "must lie in 0 to 2"),
        (torch.full((8,), -1), InputError, "must lie in 0 to 2"),
        (torch.zeros(7, dtype=torch.long), InputError, "8 whole numbers"),
        (torch.zeros(8), InputError, "8 whole numbers.*float32"),
        (torch.zeros(8, 3, dtype=torch.bool), InputError, r"bool \(8, 3\)"),
        ("low", InputError, "list of 8 captions.*'low'"),
    ],
)
def test_what_stands_beside_the_clips_must_fit(beside, error, message):
    explainer = ax.LMACZS(band_clap(), width=8)
    with pytest.raises(error, match=message):
        explainer.fit([(CLIPS[:8], beside)], **QUICK)
    with pytest.raises(NotFittedError):
        explainer.explain(CLIPS[:1])


def test_one_clip_and_one_prompt_are_enough():
    explainer = ax.LMACZS(band_clap(prompts=["low"]), width=8).fit([CLIPS[:1]], **QUICK)
    assert np.isfinite(explainer.history_[0]["loss"])
    assert torch.isfinite(explainer.explain(CLIPS[:1], "high").mask).all()


# Prompts --------------------------------------------------------------------------------------------------------------


def test_several_prompts_take_one_pass_of_the_audio_tower():
    explainer = fresh()
    calls = []
    explainer.classifier.network.encoder.register_forward_hook(lambda *_: calls.append(1))
    prompts = ["low", "a high whistle", "middle", None]
    together = explainer.explain_all(CLIPS[:3], prompts)
    assert len(calls) == 2  # one for labels, one for prompts that are none
    for prompt, result in zip(prompts, together, strict=True):
        torch.testing.assert_close(explainer.explain(CLIPS[:3], prompt).mask, result.mask, rtol=0, atol=1e-5)
    for prompt, result in zip(prompts[::-1], explainer.explain_all(CLIPS[:3], prompts[::-1]), strict=True):
        torch.testing.assert_close(together[prompts.index(prompt)].mask, result.mask, rtol=0, atol=1e-5)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_scores_of_several_prompts_are_asked_for_by_their_direction(conditioning):
    explainer, seen = fresh(conditioning=conditioning), []
    explainer.decoder_.register_forward_pre_hook(lambda _, given: seen.append(given[2]))
    text = explainer.classifier.text_embeddings
    members = torch.tensor([[True, True, False], [False, False, True]])
    scores = {
        "both": (members, torch.stack([text[0] + text[1], text[2]])),
        "rather": (lambda logits: logits[:, 0] - 2 * logits[:, 1], (text[0] - 2 * text[1]).expand(2, -1)),
        "one": ("low", text[:1].expand(2, -1)),
    }
    for target, direction in scores.values():
        explainer.explain(CLIPS[:2], target)
        expected = direction / direction.norm(dim=1, keepdim=True)
        torch.testing.assert_close(seen[-1], expected, rtol=0, atol=1e-5)
    with pytest.raises((TargetError, ClassifierError), match="does not depend"):
        explainer.explain(CLIPS[:2], lambda logits: torch.ones(len(logits)))


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_saved_and_loaded_it_says_the_same_of_any_prompt(conditioning, tmp_path):
    classifier = band_clap()
    explainer = ax.LMACZS(classifier, conditioning=conditioning, width=8, diversity="l1").fit(batches(), **QUICK)
    explainer.save_pretrained(tmp_path)
    classifier.set_prompts(["high", "a middle tone"])
    loaded = ax.LMACZS.from_pretrained(tmp_path, classifier=classifier)
    for target in (None, "something low"):
        expected = explainer.explain(CLIPS[:3], target).mask
        torch.testing.assert_close(loaded.explain(CLIPS[:3], target).mask, expected, rtol=0, atol=0)
    assert loaded.diversity == "l1"
    assert loaded.history_ == explainer.history_
    assert "silence" in loaded.history_[0]


# Building -------------------------------------------------------------------------------------------------------------


def test_only_zero_shot_classifiers():
    with pytest.raises(ConfigError, match="ZeroShotClassifier.*got AudioClassifier: use LMAC"):
        ax.LMACZS(networks.log_mel_cnn())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditioning": "flim"}, "conditioning='flim' is not known; choose one of 'evidence.gate', 'evidence'"),
        ({"diversity": "none"}, "diversity='none'"),
        ({"mixing": 1.5}, "mixing=1.5"),
        ({"prompts_per_clip": 0}, "prompts_per_clip=0"),
        ({"width": 0}, "width=0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        ax.LMACZS(band_clap(), **options)


def test_the_published_form():
    explainer = ax.LMACZS.reference(band_clap(), width=8)
    assert explainer.conditioning == "film"
    assert explainer.mixing == explainer.lambda_in == explainer.lambda_out == explainer.lambda_g == 0
    assert explainer.space.scale == "magnitude"
    found = explainer.fit(batches(), **QUICK).history_[0]
    expected = found["sim"] + 0.05 * found["mask"] + 0.1 * found["diversity"]
    assert found["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_towers_of_real_shapes(conditioning):
    model, processor = clap_models.model(micro=True), clap_models.processor(micro=True)
    classifier, waveform = from_clap(model, processor, prompts=clap_models.PROMPTS), networks.clips(2, 90000)
    explainer = ax.LMACZS(classifier, conditioning=conditioning, width=8).fit([waveform], **QUICK)
    first, second = explainer.explain_all(waveform, ["a dog barking", "rain on a roof"])
    assert first.mask.shape == explainer.space.analyse(waveform).values.shape
    assert first.waveform.shape == waveform.shape
    assert not torch.equal(first.mask, second.mask)
