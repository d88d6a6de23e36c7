"""Adapters on the real packages, small models with random weights; each is skipped where its package is absent.

``tests/neighbours.sh FOLDER`` makes an environment for each package and runs these there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import LABELS
from torch import nn

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError
from audioxai.sound.dsp import STFT
from audioxai.testing import check_explainer

RATE = 16000
CLIPS = 0.1 * torch.randn(2, RATE // 2, generator=torch.Generator().manual_seed(0))


def explained(classifier: ax.AudioClassifier) -> None:
    """A gradient, a CAM and a learned method, each with every promise of the interface."""
    learned = ax.LMAC(classifier, width=8).fit([CLIPS], epochs=1, progress=False)
    for explainer in (ax.Saliency(classifier), ax.GradCAM(classifier), learned):
        check_explainer(explainer, CLIPS)


# SpeechBrain ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def modules():
    """Those of a speaker or language classifier, ECAPA-TDNN on log-mels."""
    pytest.importorskip("speechbrain")
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier
    from speechbrain.processing.features import InputNormalization

    torch.manual_seed(0)
    embedding = ECAPA_TDNN(
        24, lin_neurons=16, channels=[32, 32, 32, 96], kernel_sizes=[5, 3, 3, 1], dilations=[1, 2, 3, 1],
        groups=[1, 1, 1, 1], attention_channels=16, se_channels=16, res2net_scale=4,
    )  # fmt: skip
    return {
        "compute_features": Fbank(n_mels=24),
        "mean_var_norm": InputNormalization(norm_type="sentence", std_norm=False),
        "embedding_model": embedding,
        "classifier": Classifier(16, out_neurons=2),
    }


def encoder_classifier(modules):
    from speechbrain.dataio.encoder import CategoricalEncoder
    from speechbrain.inference.classifiers import EncoderClassifier

    encoder = CategoricalEncoder()
    encoder.update_from_iterable(LABELS)
    encoder.expect_len(2)
    return EncoderClassifier(modules=modules, hparams={"sample_rate": RATE, "label_encoder": encoder})


def test_speechbrain_encoder_classifier(modules):
    model = encoder_classifier(modules)
    classifier = ax.from_speechbrain(model)
    assert (classifier.sample_rate, classifier.labels) == (RATE, tuple(LABELS))
    with torch.no_grad():
        torch.testing.assert_close(classifier(CLIPS), model.classify_batch(CLIPS)[0], rtol=1e-3, atol=1e-3)
    explained(classifier)


def test_speechbrain_embedding_and_classifier(modules):
    """X-vectors, whose pooling draws noise at each call."""
    from speechbrain.lobes.models.Xvector import Classifier, Xvector

    torch.manual_seed(0)
    channels = {"tdnn_channels": [16, 16, 16, 16, 24], "lin_neurons": 16}
    pair = {
        "compute_features": modules["compute_features"],
        "embedding_model": Xvector(in_channels=24, **channels).eval(),
        "classifier": Classifier((None, None, 16), lin_neurons=16, out_neurons=2).eval(),
    }
    classifier = ax.from_speechbrain(pair, sample_rate=RATE, labels=LABELS)
    with torch.no_grad():
        expected = pair["classifier"](pair["embedding_model"](pair["compute_features"](CLIPS)))[:, 0]
        torch.testing.assert_close(classifier(CLIPS), expected, rtol=1e-3, atol=1e-3)
    explained(classifier)


def test_speechbrain_model_of_another_task_is_refused(modules):
    from speechbrain.inference.separation import SepformerSeparation

    parts = {name: nn.Identity() for name in SepformerSeparation.MODULES_NEEDED}
    model = SepformerSeparation(modules=parts, hparams={"sample_rate": RATE})
    with pytest.raises(ConfigError, match="SepformerSeparation has no module compute_features, embedding_model"):
        ax.from_speechbrain(model)


# torchaudio -----------------------------------------------------------------------------------------------------------


def pipeline(tokens=29):
    import torchaudio

    torch.manual_seed(0)
    model = torchaudio.models.wav2vec2_model(
        extractor_mode="group_norm", extractor_conv_layer_config=[(16, 10, 5), (16, 8, 8), (16, 4, 4)],
        extractor_conv_bias=False, encoder_embed_dim=16, encoder_projection_dropout=0.0, encoder_pos_conv_kernel=8,
        encoder_pos_conv_groups=2, encoder_num_layers=3, encoder_num_heads=2, encoder_attention_dropout=0.0,
        encoder_ff_interm_features=32, encoder_ff_interm_dropout=0.0, encoder_dropout=0.0,
        encoder_layer_norm_first=False, encoder_layer_drop=0.0, aux_num_out=tokens,
    )  # fmt: skip
    return torchaudio.pipelines, model.eval()


def test_torchaudio_tokens_and_transcripts():
    pipelines, model = pipeline()
    bundle = pipelines.WAV2VEC2_ASR_BASE_960H
    classifier = ax.from_torchaudio(bundle, model=model)
    assert classifier.labels == tuple(bundle.get_labels())
    with torch.no_grad():
        frames = model(CLIPS)[0].log_softmax(-1)
    torch.testing.assert_close(classifier(CLIPS), frames.amax(1))
    explained(classifier)
    said = ax.from_torchaudio(bundle, ["YES", "NO"], model=model)
    assert said.labels[:2] == ("YES", "NO")
    check_explainer(ax.Saliency(said), CLIPS)
    with pytest.raises(ConfigError, match="token 'y' of 'yes' is not known"):
        ax.from_torchaudio(bundle, ["yes"], model=model)


def test_torchaudio_aligner_that_normalises_and_has_a_star():
    """As MMS_FA.get_model() wraps what it downloads."""
    pipelines, model = pipeline(tokens=28)
    from torchaudio.pipelines._wav2vec2 import utils

    whole = utils._extend_model(model, normalize_waveform=True, apply_log_softmax=True, append_star=True).eval()
    classifier = ax.from_torchaudio(pipelines.MMS_FA, model=whole)
    assert classifier.labels == tuple(pipelines.MMS_FA.get_labels())[:-1]
    with torch.no_grad():
        each = torch.cat([whole(clip[None])[0].amax(1) for clip in CLIPS * torch.tensor([[1.0], [0.1]])])
    torch.testing.assert_close(classifier(CLIPS * torch.tensor([[1.0], [0.1]])), each[:, :-1], rtol=1e-4, atol=1e-4)
    check_explainer(ax.GradCAM(classifier), CLIPS)


def test_torchaudio_s_mel_spectrogram_in_decibels():
    """The front end that docs/howto/wrap-a-classifier.md gives for it."""
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    page = (Path(__file__).parents[2] / "docs" / "howto" / "wrap-a-classifier.md").read_text()
    start = page.index("torchaudios = ax.LogMel(")
    found = {"ax": ax, "STFT": STFT}
    exec(page[start : page.index("\n)\n", start) + 2], found)
    theirs = AmplitudeToDB()(MelSpectrogram(16000, 512, hop_length=160, n_mels=64)(CLIPS))
    torch.testing.assert_close(found["torchaudios"](CLIPS), theirs, rtol=0, atol=1e-3)


def test_torchaudio_without_a_head_is_refused():
    pipelines, model = pipeline()
    with pytest.raises(ClassifierError, match="no head"):
        ax.from_torchaudio(pipelines.WAV2VEC2_BASE, model=model)


# timm -----------------------------------------------------------------------------------------------------------------


def test_timm_convolutions():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", pretrained=False, in_chans=1, num_classes=2).eval()
    frontend = ax.LogMel(RATE, 64, layout="B1MN")
    classifier = ax.from_image_network(
        network, frontend, sample_rate=RATE, labels=LABELS, own=lambda clip: network(frontend(clip))
    )
    explained(classifier)


def test_timm_transformer_of_a_fixed_size():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, img_size=(64, 96), num_classes=2, embed_dim=48, depth=3
    ).eval()
    frontend = ax.LogMel(RATE, 64, layout="B1MN")

    def own(clip):
        picture = nn.functional.interpolate(frontend(clip), size=(64, 96), mode="bilinear", antialias=True)
        return network(picture.expand(-1, 3, -1, -1))

    options = {"sample_rate": RATE, "labels": LABELS, "own": own}
    classifier = ax.from_image_network(network, frontend, size=(64, 96), **options)
    explained(classifier)
    with pytest.raises(ClassifierError, match="differ from its own by"):
        ax.from_image_network(network, frontend, size=(64, 96), mean=[0.5] * 3, **options)


# ONNX Runtime ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bands(tmp_path):
    """Filters, and a maker of sessions: waveform to the mean size of two filters' outputs."""
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    time = np.arange(32)
    filters = np.stack([np.cos(2 * np.pi * share * time) / 32 for share in (0.03, 0.40)])[:, None].astype(np.float32)

    def session(batch="B", pooled=True):
        nodes = [
            helper.make_node("Unsqueeze", ["sound", "one"], ["channel"]),
            helper.make_node("Conv", ["channel", "filters"], ["filtered"], strides=[8], pads=[16, 16]),
            helper.make_node("Abs", ["filtered"], ["size"]),
            helper.make_node("ReduceMean", ["size", "two"], ["mean"], keepdims=0),
            helper.make_node("Identity", ["mean" if pooled else "size"], ["scores"]),
        ]
        constants = {"filters": filters, "one": np.array([1]), "two": np.array([2])}
        graph = helper.make_graph(
            nodes,
            "bands",
            [helper.make_tensor_value_info("sound", TensorProto.FLOAT, [batch, "T"])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 2] if pooled else [batch, 2, "N"])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, tmp_path / "bands.onnx")
        return runtime.InferenceSession(tmp_path / "bands.onnx", providers=["CPUExecutionProvider"])

    return torch.from_numpy(filters), session


def test_onnx_runtime_session(bands):
    filters, session = bands
    classifier = ax.from_callable(session(), RATE, LABELS)
    expected = nn.functional.conv1d(CLIPS[:, None], filters, stride=8, padding=16).abs().mean(2)
    torch.testing.assert_close(classifier(CLIPS), expected)
    explainer = ax.Occlusion(classifier, tiles=(4, 2), progress=False)
    check_explainer(explainer, CLIPS)
    time = torch.arange(RATE // 2) / RATE
    both = 0.3 * (torch.sin(2 * torch.pi * 480 * time) + torch.sin(2 * torch.pi * 6400 * time))[None]
    mask = explainer.explain(both, "low").mask[0]
    assert mask[: mask.shape[0] // 2].mean() > 3 * mask[mask.shape[0] // 2 :].mean()


def test_onnx_runtime_session_is_refused(bands):
    _, session = bands
    with pytest.raises(ClassifierError, match="one at a time"):
        ax.from_callable(session(batch=1), RATE, LABELS)
    with pytest.raises(ClassifierError, match=r"must return \(1, K\) scores"):
        ax.from_callable(session(pooled=False), RATE, LABELS)
    classifier = ax.from_callable(session(), RATE, LABELS)
    with pytest.raises(ClassifierError, match="use a method without gradients: Occlusion"):
        ax.Saliency(classifier).explain(CLIPS)
    with pytest.raises(ClassifierError, match="no layer of the network carries a map"):
        ax.GradCAM(classifier).explain(CLIPS)
