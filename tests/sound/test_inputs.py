"""What counts as a clip and as a batch, and what is refused."""

import warnings
from collections import UserDict

import networks
import numpy as np
import pytest
import torch

import audioxai as ax
from audioxai.errors import AudioFileError, InputError
from audioxai.sound.inputs import as_waveform, read_batch

RATE = networks.RATE
CLIPS = networks.clips(2, 500)


@pytest.mark.parametrize(
    "given",
    [
        CLIPS,
        CLIPS[:, None],
        CLIPS.numpy(),
        CLIPS.double().numpy(),
        CLIPS.double().numpy().astype(">f8"),
        np.asfortranarray(CLIPS.numpy()),
        CLIPS.tolist(),
        list(CLIPS.numpy()),
        CLIPS.clone().requires_grad_(),
    ],
)
def test_every_form_of_a_batch(given):
    found = as_waveform(given, RATE)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.is_contiguous()
    assert torch.equal(found, CLIPS)


def test_a_single_clip_is_a_batch_of_one():
    for given in (CLIPS[0], CLIPS[0].numpy(), CLIPS[0].tolist(), CLIPS[:1, None]):
        assert torch.equal(as_waveform(given, RATE), CLIPS[:1])


def test_arrays_that_torch_does_not_take():
    backwards = CLIPS.numpy()[:, ::-1]
    assert torch.equal(as_waveform(backwards, RATE), CLIPS.flip(1))
    locked = CLIPS.numpy().copy()
    locked.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(as_waveform(locked, RATE), CLIPS)


def test_the_callers_tensor_is_not_changed():
    given = CLIPS.clone()
    as_waveform(given, RATE)
    read_batch((given, 3), RATE)
    assert torch.equal(given, CLIPS)
    with torch.inference_mode():
        made = as_waveform(CLIPS * 2, RATE)
        assert not made[0].is_inference() or torch.equal(made, CLIPS * 2)


def test_half_precision_is_widened():
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        torch.testing.assert_close(as_waveform(CLIPS.to(dtype), RATE), CLIPS, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.zeros(3, 100, dtype=torch.int16), r"int16.*/ 32768"),
        (np.zeros(100, dtype=np.int32), "int32"),
        (torch.zeros(100, dtype=torch.bool), "bool"),
        (torch.zeros(2, 2, 100), r"mono; got \(2, 2, 100\)"),
        (torch.zeros(0), "no samples"),
        (torch.zeros(2, 1, 0), "no samples"),
        (torch.tensor([[0.0, 0.0], [0.0, float("inf")]]), "clip 1 of 2"),
        (np.array([0.0, np.nan]), "clip 0 of 1"),
        ({"waveform": CLIPS}, "dict"),
        ([[0.0, 1.0], [0.0]], "list"),
        (["a.wav", "b.wav"], "one file at a time, or all to explain_dataset"),
        (object(), "object"),
    ],
)
def test_what_is_no_waveform(given, words):
    with pytest.raises(InputError, match=words):
        as_waveform(given, RATE)


def test_rates_of_tensors_and_files(tmp_path):
    clip = networks.clips(1, 8000)
    assert as_waveform(clip, RATE, 2 * RATE).shape == (1, 4000)
    assert torch.equal(as_waveform(clip, RATE, RATE), clip)
    ax.save(tmp_path / "clip.wav", clip[0], 2 * RATE)
    assert as_waveform(str(tmp_path / "clip.wav"), RATE).shape == (1, 4000)
    with pytest.raises(InputError, match="has its own"):
        as_waveform(tmp_path / "clip.wav", RATE, 16000)
    with pytest.raises(AudioFileError, match=r"missing\.wav"):
        as_waveform(tmp_path / "missing.wav", RATE)


def test_sixteen_bit_levels_are_noticed():
    with pytest.warns(UserWarning, match="peaks at 2000"):
        as_waveform(torch.full((10,), 2000.0), RATE)


@pytest.mark.parametrize(
    "batch",
    [
        CLIPS,
        (CLIPS, torch.tensor([0, 1])),
        [CLIPS, torch.tensor([0, 1]), {"path": "a"}],
        {"waveform": CLIPS, "label": 1},
        {"label": 1, "input_values": CLIPS.numpy()},
        UserDict(audio=CLIPS),
        CLIPS.numpy(),
        (CLIPS.numpy(),),
    ],
)
def test_every_form_of_a_loaders_batch(batch):
    assert torch.equal(read_batch(batch, RATE), CLIPS)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"sound": CLIPS, "label": 1}, "waveform, audio, .*; got sound, label"),
        ({}, "needs one of the keys"),
        ((), "tuple"),
        ([], "list"),
        ("clip.wav", "str"),
        (3, "int"),
        (("clip.wav", 1), "str"),
        ((torch.zeros(2, 10, dtype=torch.int64), 1), "int64"),
        (torch.full((2, 10), float("nan")), "NaN"),
    ],
)
def test_what_is_no_batch(batch, words):
    with pytest.raises(InputError, match=words):
        read_batch(batch, RATE)
