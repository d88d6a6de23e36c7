"""Models of transformers: every family, equal to its own path, in every hand; and what is refused."""

from __future__ import annotations

import copy
import itertools
import sys

import pytest
import tiny_models
import torch
from every_explainer import fitted
from tiny_models import FAMILIES, LABELS, RATE, make

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError, InputError, MissingDependencyError
from audioxai.testing import check_explainer

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter")
CLIPS = 0.1 * torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", autouse=True)
def _transformers():
    tiny_models.transformers()


def own_logits(model, extractor, clip: torch.Tensor) -> torch.Tensor:
    given = extractor(clip.numpy(), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        return model(next(v for k, v in given.items() if k != "attention_mask")).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_models_own(family, data_root):
    model, extractor = make(family)
    with torch.no_grad():
        model(**extractor(CLIPS[0].numpy(), sampling_rate=RATE, return_tensors="pt"))  # hooks of its own, if it has any
    hooks = {name: list(module._forward_hooks) for name, module in model.named_modules()}
    classifier = ax.from_huggingface(model, extractor)
    assert classifier.network.model is model
    assert classifier.sample_rate == RATE
    assert classifier.labels == tuple(LABELS.values())
    assert not classifier.multilabel
    assert hooks == {name: list(module._forward_hooks) for name, module in model.named_modules()}
    file = sorted((data_root / "esc10" / "audio").iterdir())[100]
    real = ax.load(file, RATE)[0].reshape(-1)
    for clip in (CLIPS[0], 1e-3 * CLIPS[1, :3001], real[:32000], real[5000:20000]):
        expected = own_logits(model, extractor, clip)
        assert (classifier(clip[None]) - expected).abs().max() <= 1e-4 * max(1.0, float(expected.abs().max()))
    together = classifier(CLIPS)
    for clip, logits in zip(CLIPS, together, strict=True):
        torch.testing.assert_close(classifier(clip[None])[0], logits, rtol=1e-4, atol=1e-5)


WHOLE = itertools.product(["AST", "Whisper", "Wav2Vec2", "SEWD"], ["Saliency", "GradCAM", "LMAC"])


@pytest.mark.parametrize(("family", "method"), [*WHOLE, ("AST", "Occlusion")])
def test_contract(family, method):
    check_explainer(fitted(method, ax.from_huggingface(*make(family)), CLIPS), CLIPS)


def test_guided_backprop_finds_the_activations():
    classifier = ax.from_huggingface(*make("AST"))
    with pytest.raises(ClassifierError, match="calls gelu 3 times"):
        ax.GuidedBackprop(classifier).explain(CLIPS[:1])
    guided = ax.GuidedBackprop(classifier, activations=("gelu",))
    check_explainer(guided, CLIPS, only=["result", "composition", "untouched"])
    assert guided.intercepted_ == 3


# --- Evidence at a block is the gradient at its hidden states ---------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "weighted", "prefix"),
    [("AST", False, 2), ("Wav2Vec2", False, 0), ("Wav2Vec2", True, 0), ("Whisper", True, 0), ("WavLM", True, 0)],
)
def test_gradients_at_the_maps_are_those_at_the_hidden_states(family, weighted, prefix):
    model, extractor = make(family, **({"use_weighted_layer_sum": True} if weighted else {}))
    classifier = ax.from_huggingface(model, extractor, blocks=[1])
    clip = CLIPS[:2]
    with classifier.frozen(), torch.enable_grad():
        features = classifier.features(clip)
        logits, latents = classifier.classify_with_latents(features, differentiable=True)
        ours = torch.autograd.grad(logits[:, 1].sum(), latents)[0]
        inputs = classifier.network.inputs(features).requires_grad_()
        out = model(inputs, output_hidden_states=True)
        hidden = out.hidden_states[2]
        theirs = torch.autograd.grad(out.logits[:, 1].sum(), hidden)[0]
    assert ours.abs().max() > 0
    steps = ours.shape[3]

    def arrange(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, prefix:].unflatten(1, (ours.shape[2], -1)).permute(0, 3, 1, 2)[..., :steps]

    torch.testing.assert_close(classifier.as_maps(latents)[0].detach(), arrange(hidden).detach())
    torch.testing.assert_close(ours, arrange(theirs), rtol=1e-4, atol=1e-7)


def test_blocks():
    model, extractor = make("Wav2Vec2", num_hidden_layers=6)
    assert len(ax.from_huggingface(model, extractor).layers) == 4
    chosen = ax.from_huggingface(model, extractor, blocks=[-1, 0])
    assert chosen.layers == ("maps.0", "maps.1")
    assert chosen.network._blocks == (model.wav2vec2.encoder.layers[0], model.wav2vec2.encoder.layers[5])
    for wrong in ([], [6], [-7]):
        with pytest.raises(ConfigError, match="blocks 0 to 5"):
            ax.from_huggingface(model, extractor, blocks=wrong)
    ast, extractor = make("AST", num_hidden_layers=6)
    deepest = ax.from_huggingface(ast, extractor).network._blocks[-1]
    names = {module: name for name, module in ast.named_modules()}
    assert names[deepest].endswith(".4")  # the last one's patches do not reach the logits
    for wrong in ([5], [0, -1]):
        with pytest.raises(ConfigError, match="the last block, 5, do not reach the logits"):
            ax.from_huggingface(ast, extractor, blocks=wrong)
    single = ax.from_huggingface(*make("AST", num_hidden_layers=1))
    assert ax.GradCAM(single).attribute(CLIPS[:1]).any()  # the patches before the only block
    with pytest.raises(ConfigError, match="the last block, 0"):
        ax.from_huggingface(*make("AST", num_hidden_layers=1), blocks=[0])


def test_a_model_that_hears_less_than_a_second():
    model, extractor = make("AST", max_length=64)
    extractor.max_length = 64
    classifier = ax.from_huggingface(model, extractor)
    clip = CLIPS[:, :3000]
    assert ax.GradCAM(classifier).explain(clip).mask.shape[0] == 3
    assert fitted("LMAC", classifier, clip).explain(clip).mask.shape[0] == 3
    with pytest.raises(InputError, match="the model looks at 64 only"):
        classifier(torch.zeros(1, RATE))


def test_pooling_and_blocks_are_part_of_the_fingerprint():
    model, extractor = make("Wav2Vec2", num_hidden_layers=4)
    ways = [{}, {"pool": "mean"}, {"pool": lambda x: x[:, 0]}, {"pool": lambda x: x[:, 1]}, {"blocks": [0, 1]}]
    ways += [{"blocks": [1, 2]}]
    found = [ax.from_huggingface(model, extractor, **way).fingerprint() for way in ways]
    assert len(set(found)) == len(found)
    assert found == [ax.from_huggingface(model, extractor, **way).fingerprint() for way in ways]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("family", ["AST", "Wav2Vec2"])
@pytest.mark.parametrize("name", ["GradCAM", "GradCAMPlusPlus", "ScoreCAM", "GScoreCAM", "LMAC"])
def test_models_of_other_precisions(family, name, dtype):
    model, extractor = make(family)
    method = fitted(name, ax.from_huggingface(model, extractor), CLIPS)
    mask = method.explain(CLIPS, 1).mask
    model.to(dtype)
    again = ax.from_huggingface(model, extractor, tolerance=5e-2)
    decoder, method = getattr(method, "decoder_", None), fitted(name, again, CLIPS)
    if decoder is not None:
        method.decoder_.load_state_dict(decoder.state_dict())
    found = method.explain(CLIPS, 1).mask
    assert found.dtype == torch.float32
    gap = (found - mask).abs()
    assert gap.mean() < {torch.float16: 0.02, torch.bfloat16: 0.15, torch.float64: 1e-4}[dtype]


def test_an_explainer_is_saved_and_loaded(tmp_path):
    classifier = ax.from_huggingface(*make("AST"))
    explainer = fitted("LMAC", classifier, CLIPS)
    explainer.save_pretrained(tmp_path)
    again = ax.LMAC.from_pretrained(tmp_path, classifier=ax.from_huggingface(*make("AST")))
    assert torch.equal(again.explain(CLIPS).mask, explainer.explain(CLIPS).mask)
    model, extractor = make("AST")
    extractor.mean += 0.1
    with pytest.raises(ConfigError, match="another classifier"):
        ax.LMAC.from_pretrained(tmp_path, classifier=ax.from_huggingface(model, extractor))


def test_a_copy_of_the_network_stands_alone():
    classifier = ax.from_huggingface(*make("AST"))
    twin = copy.deepcopy(classifier)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert twin(CLIPS).abs().max() == 0
    assert twin.classify_with_latents(twin.features(CLIPS))[1][0].abs().max() == 0
    assert classifier(CLIPS).abs().max() > 0


# --- What the configuration says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [True, False])
def test_normalisation_is_the_extractors(normalise):
    model, extractor = make("Wav2Vec2", normalise=normalise)
    classifier = ax.from_huggingface(model, extractor)
    assert (classifier.frontend is not None) == normalise
    loud = 5.0 * CLIPS + 0.2
    expected = extractor(loud[0].numpy(), sampling_rate=RATE, return_tensors="pt")["input_values"]
    torch.testing.assert_close(classifier.features(loud)[:1], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("problem", "multilabel"),
    [
        (None, False),
        ("single_label_classification", False),
        ("multi_label_classification", True),
        ("regression", True),
    ],
)
def test_problem_types(problem, multilabel):
    model, extractor = make("Wav2Vec2", problem_type=problem)
    assert ax.from_huggingface(model, extractor).multilabel == multilabel
    assert ax.from_huggingface(model, extractor, multilabel=not multilabel).multilabel != multilabel
    classifier = ax.from_huggingface(model, extractor)
    scores = ax.Saliency(classifier).explain(CLIPS).scores.input
    expected = classifier(CLIPS).sigmoid() if multilabel else classifier(CLIPS).softmax(1)
    torch.testing.assert_close(scores, expected.detach())


def test_labels_can_be_given():
    model, extractor = make("Wav2Vec2")
    classifier = ax.from_huggingface(model, extractor, labels=["a", "b", "c", "d"])
    assert ax.Saliency(classifier).explain(CLIPS[:1], "c").target.tolist() == [2]
    model.config.id2label = dict.fromkeys(range(4), "same")
    with pytest.raises(ConfigError, match="distinct"):
        ax.from_huggingface(model, extractor)


@pytest.mark.parametrize("kind", ["ForAudioFrameClassification", "ForSequenceClassification"])
def test_answers_per_frame(kind, tmp_path):
    model, extractor = make("Wav2Vec2", kind)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    classifier = ax.from_huggingface(tmp_path)
    assert type(classifier.network.model).__name__ == f"Wav2Vec2{kind}"
    assert classifier.labels == tuple(LABELS.values())
    frames = own_logits(model, extractor, CLIPS[0])
    expected = frames.amax(1) if frames.ndim == 3 else frames
    torch.testing.assert_close(classifier(CLIPS[:1]), expected, rtol=1e-4, atol=1e-5)
    if frames.ndim == 3:
        late = ax.from_huggingface(str(tmp_path), pool=lambda f: f[:, 4:].mean(1))
        torch.testing.assert_close(late(CLIPS[:1]), frames[:, 4:].mean(1), rtol=1e-4, atol=1e-5)
        check_explainer(ax.GradCAM(late), CLIPS, only=["result", "targets"])


def test_a_processor_and_the_models_own_folder(tmp_path):
    from types import SimpleNamespace

    model, extractor = make("Wav2Vec2")
    assert ax.from_huggingface(model, SimpleNamespace(feature_extractor=extractor)).sample_rate == RATE
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(ax.from_huggingface(loaded)(CLIPS), ax.from_huggingface(model, extractor)(CLIPS))


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "longest"), [("AST", 32880), ("Whisper", 32000)])
def test_clips_longer_than_the_model_hears(family, longest):
    classifier = ax.from_huggingface(*make(family))
    assert classifier(torch.zeros(1, longest)).shape == (1, 4)
    with pytest.raises(InputError, match="cut it into windows"):
        classifier(torch.zeros(1, longest + 160))


def test_a_model_that_is_no_audio_classifier():
    t = tiny_models.transformers()
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    text = t.BertForSequenceClassification(t.BertConfig(vocab_size=9, **small))
    with pytest.raises(ClassifierError, match=r"BertForSequenceClassification \(model_type='bert'\).*wavlm"):
        ax.from_huggingface(text)
    with pytest.raises(ClassifierError, match="Linear"):
        ax.from_huggingface(torch.nn.Linear(1, 1))
    with pytest.raises(ConfigError, match="got int"):
        ax.from_huggingface(3)


def test_a_model_without_a_head():
    model, extractor = make("Wav2Vec2")
    with pytest.raises(ClassifierError, match="returns no logits"):
        ax.from_huggingface(model.wav2vec2, extractor)
    ctc, extractor = make("Wav2Vec2", "ForCTC")
    with pytest.raises(ClassifierError, match="32 outputs, but 4 labels"):
        ax.from_huggingface(ctc, extractor)


def test_the_extractor_is_missing_or_anothers(tmp_path):
    model, extractor = make("AST")
    with pytest.raises(ConfigError, match="pass feature_extractor="):
        ax.from_huggingface(model)
    with pytest.raises(ConfigError, match="WhisperFeatureExtractor is no extractor for a audio-spectrogram"):
        ax.from_huggingface(model, make("Whisper")[1])
    model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="AutoFeatureExtractor cannot be loaded"):
        ax.from_huggingface(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="cannot be loaded from"):
        ax.from_huggingface(tmp_path / "empty", extractor)


def test_settings_that_cannot_be_reproduced_are_refused_with_the_difference():
    model, extractor = make("Whisper")
    extractor.dither = 0.1
    with pytest.raises(ClassifierError, match=r"features .* differ from its own by \d.*cannot be reproduced"):
        ax.from_huggingface(model, extractor)
    model, extractor = make("Whisper")
    extractor.mel_filters = extractor.mel_filters[:, ::-1].copy()
    with pytest.raises(ClassifierError, match=r"features .* differ from its own by \d"):
        ax.from_huggingface(model, extractor)
    model, extractor = make("Wav2Vec2", normalise=False)
    extractor.zero_mean_unit_var_norm = lambda values, **_: [2 * v for v in values]
    extractor.do_normalize = True
    with pytest.raises(ClassifierError, match="differ"):
        ax.from_huggingface(model, extractor)


def test_a_model_that_looks_at_the_other_clips_is_refused():
    model, extractor = make("Wav2Vec2")
    plain = model.forward

    def forward(*args, **kwargs):
        output = plain(*args, **kwargs)
        output["logits"] = output.logits + (len(output.logits) - 1)
        return output

    model.forward = forward
    with pytest.raises(ClassifierError, match="change by 1 with the other clips"):
        ax.from_huggingface(model, extractor)


def test_transformers_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"transformers is not installed; pip install 'audioxai\[hf\]'"):
        ax.from_huggingface("some/model")


def test_a_pipeline_is_its_model_and_extractor():
    model, extractor = make("AST")
    pipeline = tiny_models.transformers().pipeline(
        "audio-classification", model=model, feature_extractor=extractor, device="cpu"
    )
    classifier = ax.from_huggingface(pipeline)
    assert classifier.network.model is pipeline.model
    assert torch.equal(classifier(CLIPS), ax.from_huggingface(model, extractor)(CLIPS))
