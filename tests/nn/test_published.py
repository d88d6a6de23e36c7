"""The published decoders: sizes, wiring and parameters as in the recipe."""

import networks
import pytest
import torch

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError
from audioxai.nn import CNN14, CompactCNN
from audioxai.nn.published import PublishedDecoder

MAPS = [(256, 10, 53), (512, 5, 26), (1024, 2, 13), (2048, 2, 13)]  # of CNN14 for a clip of 5 s
SIZES = {
    "stft": [(25, 5), (25, 5), (53, 18), (53, 18), (105, 37), (105, 37), (212, 65), (425, 128), (425, 513)],
    "mel": [(25, 3), (25, 3), (53, 10), (53, 10), (105, 19), (105, 19), (212, 39), (425, 80)],
}


@pytest.mark.parametrize(("space", "parameters"), [("stft", 236_728_321), ("mel", 287_873_025)])
def test_parameters_and_sizes_are_the_published_ones(space, parameters):
    with torch.device("meta"):
        decoder = PublishedDecoder([c for c, *_ in MAPS], space)
        assert sum(p.numel() for p in decoder.parameters()) == parameters
        sizes = []
        for layer in decoder.layers:
            layer.register_forward_hook(lambda _m, _i, output: sizes.append(tuple(output.shape[2:])))
        rows = {"stft": 513, "mel": 80}[space]
        mask = decoder([torch.zeros(1, *m) for m in MAPS], None, torch.zeros(1, rows, 431))
    assert sizes == SIZES[space]
    assert mask.shape == (1, rows, 431)  # resized, where the release crops the input to 425 frames


def test_the_wiring_by_hand():
    torch.manual_seed(0)
    decoder = PublishedDecoder([4, 4, 4, 4], width=8).double()
    maps = [torch.randn(2, 4, *m[1:], dtype=torch.float64) for m in MAPS]
    h3, h2, h1, h0 = (m.transpose(2, 3) for m in maps)
    t1, t2, t3, t4, t5, t6, t7, t8, t9 = decoder.layers
    x = t3(t1(h0).relu() + t2(h1).relu()).relu() + t4(h2).relu()
    x = t7(t5(x).relu() + t6(h3).relu()).relu()
    expected = t9(t8(x))[:, 0].transpose(1, 2)
    found = decoder(maps, None, torch.zeros(2, 513, 425, dtype=torch.float64))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("space", ["stft", "mel"])
@pytest.mark.parametrize("network", [CompactCNN(4), CNN14(4, width=8)])
def test_the_reference_explains_any_network_of_four_maps(network, space):
    classifier = ax.AudioClassifier(network, sample_rate=16000, frontend=ax.LogMel(16000), labels=networks.LABELS)
    explainer = ax.LMAC.reference(classifier, space=space, width=8)
    clips = networks.clips(2, 16000)
    explainer.fit([clips], epochs=1, progress=False)
    assert explainer.explain(clips).mask.shape == explainer.space.analyse(clips).values.shape
    assert (explainer.lambda_in, explainer.lambda_out, explainer.lambda_s) == (4.0, 0.2, 6.4)
    assert not explainer.bounded
    assert explainer.space.scale == "log1p"
    options = explainer._training_options([clips])
    assert (options.epochs, options.lr, options.weight_decay) == (200, 2e-4, 2e-6)
    assert explainer._training_options([clips], epochs=3).epochs == 3


def test_what_it_cannot_read():
    with pytest.raises(ClassifierError, match="four maps; the classifier gives 2"):
        PublishedDecoder([4, 4])
    with pytest.raises(ConfigError, match="'waveform'"):
        PublishedDecoder([4] * 4, "waveform")
    with pytest.raises(ConfigError, match="reads no evidence"):
        ax.LMAC(networks.log_mel_cnn(), decoder_name="published")
    with pytest.raises(ConfigError, match="decoder_name='big'"):
        ax.LMAC(networks.log_mel_cnn(), decoder_name="big")
    with pytest.raises(ConfigError, match="steered by the evidence; pass evidence=True"):
        ax.LMAC(networks.log_mel_cnn(), decoder_name="sound", evidence=False)
