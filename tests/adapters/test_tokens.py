"""Tokens as maps: what lights up lies where it sounds, and what is put in place is passed on."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import audioxai as ax
from audioxai.adapters.image_layers import _grid
from audioxai.adapters.tokens import TokenMaps, find_blocks, spread
from audioxai.errors import ClassifierError

BANDS, FRAMES = 64, 204  # of the tiny AST: 5 x 19 patches of 16 x 16, every 10


def lit_ast(**config):
    """An AST whose first block passes each patch's sum on as channel 0."""
    model, extractor = tiny_models.make("AST", **config)
    with torch.no_grad():
        for parameter in model.audio_spectrogram_transformer.parameters():
            parameter.zero_()
        for name, parameter in model.named_parameters():
            if "projection.weight" in name:
                parameter[0] = 1.0
    return model, extractor


@pytest.mark.parametrize(("row", "column"), [(0, 0), (4, 0), (0, 9), (2, 5), (3, 7)])
def test_a_patch_lights_the_cell_of_its_time_and_frequency(row, column):
    model, extractor = lit_ast()
    network = ax.from_huggingface(model, extractor).network
    classifier = ax.AudioClassifier(network, sample_rate=16000, layers=network.layers)
    features = torch.zeros(1, 100, BANDS)  # frames, bands
    features[:, 10 * column + 6 : 10 * column + 10, 10 * row + 6 : 10 * row + 10] = 1.0  # what no other patch sees
    network.padding = 0.0
    for maps in classifier.as_maps(classifier.classify_with_latents(features)[1]):
        assert maps.shape == (1, 16, 5, 10)
        where = maps[0, 0].nonzero().tolist()
        assert where == [[row, column]]


@pytest.mark.parametrize(("time", "frequency"), [((4, 8), 200.0), ((2, 3), 1000.0), ((16, 19), 5000.0)])
def test_a_tone_lights_the_mask_where_it_sounds(time, frequency):
    """From waveform to mask: class tokens, rows in mel and the overlap of patches, all at once."""
    model, extractor = lit_ast()
    classifier = ax.from_huggingface(model, extractor)
    begin, end = (int(t * 1600) for t in time)
    samples = 400 + 160 * 195  # so that no patch reaches into the padding, whose value is that of loud sound
    clip = 1e-4 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
    clip[:, begin:end] += 0.5 * torch.sin(torch.arange(end - begin) * 2 * torch.pi * frequency / 16000)
    _, latents = classifier.classify_with_latents(classifier.features(clip))
    space = ax.STFTSpace(classifier)
    values = space.analyse(clip).values
    mask = space.from_grid(classifier.as_maps(latents)[0][:, :1], values)[0, 0]
    bin_, frame = divmod(int(mask.argmax()), mask.shape[1])
    seconds = frame * space.stft.hop / 16000
    assert begin / 16000 - 0.1 <= seconds <= end / 16000 + 0.1
    hz = bin_ * 8000 / (len(mask) - 1)
    assert 0.5 * frequency - 150 <= hz <= 1.6 * frequency + 150


def test_maps_grow_with_the_clip_up_to_the_whole_window():
    classifier = ax.from_huggingface(*tiny_models.make("AST"))
    for frames, steps in ((1, 1), (10, 1), (11, 2), (98, 10), (190, 19), (204, 19)):
        samples = 400 + 160 * (frames - 1)
        maps = classifier.as_maps(classifier.classify_with_latents(classifier.features(torch.zeros(1, samples)))[1])
        assert [m.shape[2:] for m in maps] == [(5, steps)] * len(maps)


def test_other_strides_and_patches():
    model, extractor = tiny_models.make("AST", patch_size=8, time_stride=6, frequency_stride=8)
    classifier = ax.from_huggingface(model, extractor)
    _, latents = classifier.classify_with_latents(classifier.features(torch.zeros(1, 16000)))
    assert classifier.as_maps(latents)[0].shape == (1, 16, 8, 17)


@given(rows=st.integers(1, 5), columns=st.integers(1, 7), prefix=st.integers(0, 2))
def test_a_grid_of_image_patches_need_not_be_square(rows, columns, prefix):
    tokens = torch.randn(2, prefix + rows * columns, 3)
    grid = _grid(tokens, (rows, columns), prefix)
    assert grid.shape == (2, 3, rows, columns)
    for row in range(rows):
        for column in range(columns):
            assert torch.equal(grid[:, :, row, column], tokens[:, prefix + row * columns + column])


@pytest.mark.parametrize(
    ("count", "last", "blocks"),
    [(12, 11, [2, 5, 8, 11]), (12, 10, [2, 5, 7, 10]), (3, 2, [0, 1, 2]), (2, 1, [0, 1]), (1, 0, [0]), (1, -1, [0])],
)
def test_blocks_are_spread_evenly_and_end_with_the_last(count, last, blocks):
    assert spread(count, None, last) == blocks


def test_models_without_blocks_or_logits():
    with pytest.raises(ClassifierError, match="Linear has no list of blocks"):
        find_blocks(nn.Linear(1, 1))

    class Nothing(nn.Module):
        def forward(self, x):
            return {"scores": x}

    with pytest.raises(ClassifierError, match="Nothing returns no logits"):
        TokenMaps(Nothing(), []).run(torch.zeros(1, 3))
