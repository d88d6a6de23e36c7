"""ZeroShotClassifier: prompts, templates, ensembles, targets that are in no list; a classifier like any other."""

from __future__ import annotations

import copy
import warnings

import hypothesis.strategies as st
import networks
import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError, TargetError
from audioxai.metrics import clip_scores

RATE = networks.RATE
PROMPTS = ["dog", "rain", "siren", "bell"]
CLIPS = networks.clips(3, 4000)


class Words:
    """A text tower that counts its calls: each text has its own random direction."""

    def __init__(self, dim: int = 16):
        self.dim, self.seen = dim, []

    def __call__(self, texts: list[str]) -> Tensor:
        self.seen += texts
        return torch.stack([self.one(text) for text in texts])

    def one(self, text: str) -> Tensor:
        generator = torch.Generator().manual_seed(sum(i * ord(c) for i, c in enumerate(text, 1)))
        return 3 * torch.randn(self.dim, generator=generator)


def towers(dim: int = 16) -> nn.Module:
    torch.manual_seed(0)
    return ax.nn.CompactCNN(dim, 32, (8, 8, 16)).eval()


def made(prompts=PROMPTS, **options) -> ax.ZeroShotClassifier:
    options = {"text_encoder": Words(), "audio_encoder": towers(), **options}
    audio, text = options.pop("audio_encoder"), options.pop("text_encoder")
    frontend = options.pop("frontend", ax.LogMel(RATE, 32))
    return ax.ZeroShotClassifier(audio, text, sample_rate=RATE, prompts=prompts, frontend=frontend, **options).eval()


# --- logits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [None, 1.0, 33.0])
def test_logits_are_temperature_times_cosine(temperature):
    classifier = made(temperature=temperature)
    features = classifier.features(CLIPS)
    audio = classifier.network.encoder(features).tolist()
    text = Words()(PROMPTS).tolist()
    expected = oracles.zero_shot_logits(audio, text, temperature or 1 / 0.07)
    assert torch.allclose(classifier(CLIPS), torch.tensor(expected), atol=1e-4)
    assert classifier.labels == tuple(PROMPTS)
    assert torch.allclose(classifier.text_embeddings.norm(dim=1), torch.ones(4))
    assert torch.allclose(
        classifier.embed_audio(CLIPS) @ classifier.text_embeddings.T, classifier(CLIPS) / classifier.temperature
    )


@given(st.permutations(PROMPTS), st.integers(1, 3))
@settings(max_examples=10)
def test_order_of_prompts_and_size_of_batches_do_not_matter(order, size):
    classifier = made()
    expected = dict(zip(PROMPTS, classifier(CLIPS).T, strict=True))
    classifier.set_prompts(order)
    found = torch.cat([classifier(part) for part in CLIPS.split(size)])
    for column, prompt in enumerate(order):
        assert torch.allclose(found[:, column], expected[prompt], atol=1e-4)


def test_it_has_latents_and_gradients_like_any_classifier():
    classifier = made()
    assert all(name.startswith("encoder.") for name in classifier.layers)
    logits, latents = classifier.classify_with_latents(classifier.features(CLIPS), differentiable=True)
    assert torch.allclose(logits, classifier(CLIPS), atol=1e-5)
    gradients = torch.autograd.grad(logits[:, 1].sum(), latents)
    assert all(g.abs().sum() > 0 for g in gradients)
    assert [m.shape[3] for m in classifier.as_maps(latents)] == sorted(
        [m.shape[3] for m in classifier.as_maps(latents)]
    )[::-1]


def test_finite_differences():
    classifier = made(audio_encoder=nn.Sequential(nn.Flatten(), nn.Linear(64, 16)), frontend=None).double()
    clip = torch.randn(1, 64, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(clip)

    def score(x):
        return classifier.network(x)[0, 2]

    # Lengths are computed in float32, hence the step and the tolerance.
    (gradient,) = torch.autograd.grad(score(clip), clip)
    step = 1e-2
    difference = (score(clip + step * direction) - score(clip - step * direction)) / (2 * step)
    assert float(difference.detach()) == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=1e-3)


def test_silence_and_an_embedding_of_zeros_have_finite_gradients():
    class Zero(nn.Module):
        def forward(self, x):
            return 0 * x[:, :16]

    classifier = made(audio_encoder=Zero(), frontend=None)
    clip = torch.zeros(1, 64, requires_grad=True)
    logits = classifier(clip)
    assert torch.equal(logits, torch.zeros(1, 4))
    (gradient,) = torch.autograd.grad(logits.sum(), clip)
    assert torch.isfinite(gradient).all()


def test_layers_are_named_as_in_the_audio_tower():
    for layers in (["blocks.1"], ["encoder.blocks.1"], {"blocks.1": lambda x: x}):
        assert made(layers=layers).layers == ("encoder.blocks.1",)
    tower = towers()
    assert made(audio_encoder=tower, layers=[tower.blocks[1]]).layers == ("encoder.blocks.1",)
    with pytest.raises(ConfigError, match=r"no layer 'encoder.blocks.9'; nearest: 'encoder.blocks"):
        made(layers=["blocks.9"])


# --- prompts ------------------------------------------------------------------------------------------------------


def test_template_underscores_and_several_templates():
    words = Words()
    classifier = made(["clock_tick", "dog"], text_encoder=words, template="the sound of {}.")
    assert words.seen == ["the sound of clock tick.", "the sound of dog."]
    assert classifier.labels == ("clock_tick", "dog")
    classifier.set_prompts(["dog"], template=["{}", "a {}"])
    mean = sum(w / w.norm() for w in (words.one("dog"), words.one("a dog")))
    assert torch.allclose(classifier.text_embeddings[0], mean / mean.norm(), atol=1e-6)
    assert classifier.templates == ("{}", "a {}")
    words.seen.clear()
    classifier.set_prompts(["cat {x} {0}"])  # braces of a prompt are left alone
    assert words.seen == ["cat {x} {0}", "a cat {x} {0}"]


def test_a_label_may_have_several_prompts():
    words = Words()
    classifier = made({"dog": ["a dog", "a puppy"], "rain": "rain falls"}, text_encoder=words)
    assert classifier.labels == ("dog", "rain")
    assert classifier.prompts == {"dog": ("a dog", "a puppy"), "rain": ("rain falls",)}
    mean = sum(w / w.norm() for w in (words.one("a dog"), words.one("a puppy")))
    expected = torch.stack([mean / mean.norm(), words.one("rain falls") / words.one("rain falls").norm()])
    assert torch.allclose(classifier.text_embeddings, expected, atol=1e-6)


def test_texts_are_embedded_once(monkeypatch):
    words = Words()
    classifier = made(text_encoder=words)
    words.seen.clear()
    first = classifier.embed_text(["dog", "a cat", "a cat", "rain"])
    assert words.seen == ["a cat"]
    assert torch.equal(first[1], first[2])
    assert torch.equal(first[0], classifier.text_embeddings[0])
    classifier.embed_text(["a cat"])
    ax.Saliency(classifier).explain(CLIPS, "a cat")
    assert words.seen == ["a cat"]
    classifier.set_prompts(["a cat"])  # the text tower may have changed
    assert words.seen == ["a cat", "a cat"]
    monkeypatch.setattr("audioxai.classifiers.zero_shot._MOST_KEPT", 2)
    rows = classifier.embed_text(["a cow", "a duck", "a hen"])  # more at once than are kept
    words.seen.clear()
    assert torch.equal(classifier.embed_text(["a duck", "a hen", "a cow"]), rows[[1, 2, 0]])
    assert words.seen == ["a cow"]


def test_the_text_tower_runs_in_evaluation_mode_and_is_left_as_it_was():
    class Tower(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.drop = nn.Embedding(4, 16), nn.Dropout(0.5)

        def forward(self, texts):
            return self.drop(self.table(torch.tensor([len(t) % 4 for t in texts])))

    tower = Tower()
    classifier = made(text_encoder=tower).train()
    assert tower.drop.training
    expected = nn.functional.normalize(tower.table.weight[3:4].detach())
    assert torch.allclose(classifier.embed_text(["abcdefg"]), expected, atol=1e-6)
    assert tower.drop.training
    assert not classifier.text_embeddings.requires_grad
    with torch.inference_mode():
        classifier.set_prompts(["abcdef", "xy"])
    ax.Saliency(classifier).explain(CLIPS)  # tensors of inference mode could not be differentiated


BAD = [
    ([], "prompts is empty"),
    ({}, "prompts is empty"),
    (["dog", "rain", "dog"], "distinct; 'dog' comes more than once"),
    (["dog", 3], r"a prompt is a string; got 3 \(int\)"),
    (["dog", None], r"a prompt is a string; got None"),
    (["dog", " "], "the prompt ' ' is blank"),
    ("dog", "prompts='dog' is no list"),
    (7, "prompts=7 is no list"),
    ({"dog": []}, "'dog' has no prompts"),
    ({"dog": ["a dog", 5]}, "got 5"),
    ({3: ["a dog"]}, "got 3"),
]


@pytest.mark.parametrize(("prompts", "fault"), BAD)
def test_bad_prompts(prompts, fault):
    with pytest.raises(ConfigError, match=fault):
        made(prompts)
    classifier = made()
    before = classifier(CLIPS)
    with pytest.raises(ConfigError, match=fault):
        classifier.set_prompts(prompts)
    assert classifier.labels == tuple(PROMPTS)
    assert torch.equal(classifier(CLIPS), before)


@pytest.mark.parametrize("template", ["no place", "{} and {}", [], ["{}", "x"], [3]])
def test_bad_templates(template):
    with pytest.raises(ConfigError, match="each template holds one {}"):
        made(template=template)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
def test_bad_temperatures(temperature):
    with pytest.raises(ConfigError, match="must be a positive number"):
        made(temperature=temperature)


def test_bad_towers():
    with pytest.raises(ConfigError, match=r"audio_encoder must be a torch.nn.Module; got function"):
        made(audio_encoder=lambda x: x)
    with pytest.raises(ConfigError, match="text_encoder must take a list of strings"):
        made(text_encoder=3)
    with pytest.raises(ClassifierError, match="gives 16 numbers a clip, the text tower 24 a prompt"):
        made(text_encoder=Words(24))(CLIPS)
    for wrong, got in (
        (lambda _: torch.zeros(3), r"\(3,\)"),
        (lambda _: [1], "list"),
        (lambda t: torch.zeros(1, 4), ""),
    ):
        with pytest.raises(ClassifierError, match=rf"must return \(K, D\) for K = 4 prompts; got {got}"):
            made(text_encoder=wrong)
    with pytest.raises(ClassifierError, match="NaN or infinite numbers for 'dog'"):
        made(text_encoder=lambda texts: torch.full((len(texts), 16), float("nan")))
    with pytest.raises(ClassifierError, match=r"the text tower failed on 4 prompt\(s\), 'dog' first: list index"):
        made(text_encoder=lambda texts: [][0])
    with pytest.raises(ClassifierError, match="the audio tower must return embeddings"):
        made(audio_encoder=nn.Identity(), frontend=ax.LogMel(RATE, 32))(CLIPS)
    with pytest.raises(ConfigError, match="is one string"):
        made().embed_text("dog")
    with pytest.raises(ConfigError, match="no prompts to embed"):
        made().embed_text([])


def test_too_many_words_are_cut_with_a_warning():
    classifier = made(text_encoder=ax.nn.NgramEncoder(16, 64, 8))
    with pytest.warns(UserWarning, match="has 70 words; the first 64 are read"):
        long = classifier.embed_text(["bird " * 70])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(long, classifier.embed_text(["bird " * 64]))


# --- targets that are in no list ----------------------------------------------------------------------------------

METHODS = [ax.Saliency, ax.GradCAM, lambda c: ax.LMAC(c, width=4).fit([CLIPS], epochs=1, progress=False)]


@pytest.mark.parametrize("method", METHODS)
def test_a_new_prompt_is_explained_as_if_it_were_listed(method):
    classifier = made()
    explainer = method(classifier)
    new = explainer.explain(CLIPS, "a cat")
    assert new.target_names == ["a cat"] * 3
    assert new.labels == (*PROMPTS, "a cat")
    assert new.target.tolist() == [4, 4, 4]
    assert classifier.labels == tuple(PROMPTS)
    assert classifier(CLIPS).shape == (3, 4)
    assert torch.equal(explainer.attribute(CLIPS, "a cat"), new.mask if new.attribution is None else new.attribution)
    classifier.set_prompts([*PROMPTS, "a cat"])
    listed = explainer.explain(CLIPS, "a cat")
    assert torch.equal(new.mask, listed.mask)
    for found, expected in zip(new.scores, listed.scores, strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
    assert new.scores.input.shape == (3, 5)


def test_a_list_may_mix_labels_and_new_prompts():
    explained = ax.Saliency(made()).explain(CLIPS, ["a cat", "rain", "a duck"])
    assert explained.target_names == ["a cat", "rain", "a duck"]
    assert explained.labels == (*PROMPTS, "a cat", "a duck")
    array = ax.Saliency(made()).explain(CLIPS, np.array(["a cat", "rain", "a duck"]))
    assert array.labels == explained.labels and torch.equal(array.mask, explained.mask)
    alone = ax.Saliency(made()).explain(CLIPS[2], "a duck")
    assert torch.allclose(explained.mask[2:], alone.mask, atol=1e-5)
    with pytest.raises(TargetError, match="mixes labels with 3"):
        ax.Saliency(made()).explain(CLIPS, ["a cat", "rain", 3])
    with pytest.raises(TargetError, match="target=' ' is blank"):
        ax.Saliency(made()).explain(CLIPS, " ")
    with pytest.raises(TargetError, match=r"2 entries for 3 clip\(s\)"):
        ax.Saliency(made()).explain(CLIPS, ["a cat", "rain"])


@pytest.mark.parametrize("method", METHODS)
def test_several_targets_do_not_see_each_others_prompts(method):
    explainer = method(made())
    members = torch.tensor([[True, False, True, False]] * 3)
    targets = [None, "a cat", 2, "a duck", members, ["a cow", "rain", "a cat"], lambda logits: logits.amax(1)]
    together = explainer.explain_all(CLIPS, targets)
    for target, one in zip(targets, together, strict=True):
        alone = explainer.explain(CLIPS, target)
        assert one.labels == alone.labels
        assert one.target_names == alone.target_names
        assert torch.allclose(one.mask, alone.mask, atol=1e-5)
        assert torch.allclose(one.scores.input, alone.scores.input, atol=1e-6)
        assert torch.allclose(one.scores.kept, alone.scores.kept, atol=1e-5)
    with pytest.raises(TargetError, match="target class 4 is out of range"):
        explainer.explain_all(CLIPS, ["a cat", 4])


def test_new_prompts_share_one_pass_where_the_method_shares_it():
    explainer = METHODS[2](made())
    rows = []
    handle = explainer.classifier.network.encoder.register_forward_pre_hook(lambda _m, x: rows.append(len(x[0])))
    made_of = explainer.explain_all(CLIPS, ["a cat", "a duck", "a cow"])
    handle.remove()
    assert rows == [3]
    assert [one.labels[-1] for one in made_of] == ["a cat", "a duck", "a cow"]


def test_scores_asked_for_later_are_those_of_the_prompts_then():
    classifier = made()
    explained = [ax.Saliency(classifier).explain(CLIPS, target) for target in (None, "a cat")]
    expected = [ax.Saliency(classifier).explain(CLIPS, target).scores.kept for target in (None, "a cat")]
    classifier.set_prompts(["x", "y"])
    for one, scores in zip(explained, expected, strict=True):
        assert torch.allclose(one.scores.kept, scores, atol=1e-6)


def test_ordinary_classifiers_still_refuse_unknown_labels():
    with pytest.raises(TargetError, match="unknown label 'a cat'; nearest"):
        ax.Saliency(networks.log_mel_cnn()).explain(CLIPS, "a cat")


# --- fingerprint, copies, metrics ---------------------------------------------------------------------------------


def test_the_fingerprint_is_of_the_towers_not_of_the_prompts():
    text = ax.nn.NgramEncoder(16, 64, 8)
    classifier = made(text_encoder=text)
    first = classifier.fingerprint()
    classifier.set_prompts(["something else"])
    assert classifier.fingerprint() == first
    assert made(text_encoder=text, temperature=3.0).fingerprint() != first
    other = copy.deepcopy(classifier)
    with torch.no_grad():
        other.text_encoder.table.weight[0] += 1
    assert other.fingerprint() != first
    other = copy.deepcopy(classifier)
    with torch.no_grad():
        other.network.encoder.head.bias += 1
    assert other.fingerprint() != first


def test_copies_and_metrics(tmp_path):
    classifier = made()
    again = copy.deepcopy(classifier)
    assert torch.equal(again(CLIPS), classifier(CLIPS))
    results = ax.evaluate([ax.GradCAM(classifier), ax.AllOnes(classifier)], [CLIPS])
    assert results.mean("AllOnes", "AD") == pytest.approx(0, abs=1e-4)
    assert results.passes["GradCAM"] > 0
    batch = {"waveform": CLIPS, "target": ["a cat", "a duck", "dog"]}
    new = ax.evaluate([ax.AllOnes(classifier)], [batch], metrics=["MM", "FF"])
    assert new.mean("AllOnes", "MM") == 1.0
    explainer = ax.LMAC(classifier, width=4).fit([CLIPS], epochs=1, progress=False)
    explainer.save_pretrained(tmp_path)
    classifier.set_prompts(["other", "prompts"])
    loaded = ax.LMAC.from_pretrained(tmp_path, classifier=classifier)
    assert torch.equal(loaded.explain(CLIPS, "a cat").mask, explainer.explain(CLIPS, "a cat").mask)


def test_all_ones_and_all_zeros_in_every_space():
    classifier = made()
    for space in ("stft", "mel", "waveform"):
        for scale in ("log1p", "magnitude"):
            explained = ax.AllOnes(classifier, space=space, scale=scale).explain(CLIPS, "a cat")
            assert torch.allclose(explained.scores.kept, explained.scores.input, atol=1e-5)
            silent = classifier.probabilities(classifier(torch.zeros_like(CLIPS)))
            removed = explained.scores.removed[:, :4] / explained.scores.removed[:, :4].sum(1, keepdim=True)
            assert torch.allclose(removed, silent, atol=1e-5)


@pytest.mark.parametrize("metric", ["deletion", "insertion", "infidelity", "max-sensitivity"])
def test_metrics_that_ask_again_ask_about_the_new_prompt(metric):
    classifier = made()
    batch = {"waveform": CLIPS, "target": ["a cat", "dog", "a duck"]}
    new = ax.evaluate([ax.Saliency(classifier)], [batch], metrics=[metric])
    classifier.set_prompts([*PROMPTS, "a cat", "a duck"])
    listed = ax.evaluate([ax.Saliency(classifier)], [batch], metrics=[metric])
    assert not new.failures["Saliency"]
    assert torch.allclose(new.scores["Saliency"][metric], listed.scores["Saliency"][metric], atol=1e-5)


def test_metrics_refuse_an_explanation_of_other_prompts():
    explainer = ax.Saliency(made())
    explained = explainer.explain(CLIPS, "a cat")
    explainer.classifier.set_prompts(["rain", "dog"])
    with pytest.raises(ConfigError, match=r"labels \['rain', 'dog', .* after set_prompts explain again"):
        clip_scores(explained, ["deletion"], explainer=explainer)


def test_a_zero_shot_judge_knows_the_new_prompts():
    batch = {"waveform": CLIPS, "target": ["a car"] * 3}
    results = ax.evaluate([ax.AllOnes(made())], [batch], judges=[made()])
    assert results.mean("AllOnes", "judge Fid-In") == 1.0  # what the judge hears in the clips, too
    assert results.mean("AllOnes", "judge AD") == pytest.approx(0, abs=1e-4)
