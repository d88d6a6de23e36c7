"""Sentences about sounds: what they name, and which pieces of a batch they match."""

import re

import pytest
import torch

from audioxai.data.captions import PHRASES, MixtureCaptions, concept_of, describe, phrases_of
from audioxai.data.scenes import EVENTS
from audioxai.errors import ConfigError

HZ = {"alpha_one": 400, "beta_two": 1500, "gamma_three": 3100}
WORDS = {"alpha": "alpha_one", "beta": "beta_two", "gamma": "gamma_three"}


def tones(per_sound=2, samples=4000):
    """Clips of one pure tone each at 8 kHz, silent in the second half."""
    time = torch.arange(samples) / 8000
    loud = (torch.arange(samples) < samples // 2).float()
    clips = [loud * torch.sin(2 * torch.pi * hz * time + k) for hz in HZ.values() for k in range(per_sound)]
    return torch.stack(clips), [label for label in HZ for _ in range(per_sound)]


def heard_in(piece):
    """Sounds whose tone stands out of a piece's spectrum."""
    power = torch.fft.rfft(piece).abs() ** 2
    hz = torch.arange(len(power)) * 8000 / len(piece)
    share = {label: float(power[(hz - f).abs() < 60].sum() / power.sum()) for label, f in HZ.items()}
    return {label for label, value in share.items() if value > 0.12}


def test_labels_become_words():
    assert phrases_of("glass_breaking") == ("glass breaking",)
    assert "a dog barking" in phrases_of("bark") == phrases_of("dog")
    assert concept_of("ticks") == "clock_tick"
    assert {concept_of(event) for event in EVENTS} <= set(PHRASES)
    assert all(len(set(several)) == len(several) >= 8 for several in PHRASES.values())


def test_a_sentence_names_what_it_is_about():
    generator = torch.Generator().manual_seed(0)
    made = {describe(["glass_breaking", "rain"], generator) for _ in range(50)}
    assert len(made) > 20
    assert all("glass breaking" in text and any(p in text for p in PHRASES["rain"]) for text in made)
    assert not any("{}" in text for text in made)
    again = torch.Generator().manual_seed(0)
    assert describe(["dog"], again) == describe(["dog"], torch.Generator().manual_seed(0))
    for wrong in ([], ["dog", "rain", "bell"]):
        with pytest.raises(ConfigError, match="one or two sounds"):
            describe(wrong)


@pytest.mark.parametrize("samples", [None, 2500])
def test_a_text_matches_the_pieces_that_have_all_it_names(samples):
    torch.manual_seed(0)
    clips, labels = tones()
    loader = MixtureCaptions(clips, labels, batch=40, batches=3, samples=samples)
    assert len(list(loader)) == len(loader) == 3
    counts = []
    for waveform, sentences, matches in loader:
        assert waveform.shape == (40, samples or 4000)
        heard = [heard_in(piece) for piece in waveform]
        counts += [len(sounds) for sounds in heard]
        named = [{WORDS[word] for word in re.findall("alpha|beta|gamma", text)} for text in sentences]
        assert named[-3:] == [{"alpha_one"}, {"beta_two"}, {"gamma_three"}]
        assert len(sentences) == sum(1 for sounds in heard if sounds) + 3
        assert matches.tolist() == [[told <= sounds and bool(told) for told in named] for sounds in heard]
        level = 20 * waveform.square().mean(1).sqrt().log10()
        assert (level < 8).all()
        assert (level[[bool(sounds) for sounds in heard]] > -22).all()
    assert counts.count(0) > 0  # noise alone
    assert 0.2 < counts.count(2) / len(counts) < 0.45  # half of the pairs, of which a third is of one sound
    assert max(counts) == 2


def test_the_same_seed_gives_the_same_batches():
    clips, labels = tones()
    loader = MixtureCaptions(clips, labels, batch=4)
    assert len(loader) == 2  # as many pieces as clips
    torch.manual_seed(1)
    first = list(loader)
    torch.manual_seed(1)
    for (a, said, marks), (b, told, others) in zip(first, loader, strict=True):
        assert torch.equal(a, b)
        assert said == told
        assert torch.equal(marks, others)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"labels": ["a"]}, "as many labels; got 1"),
        ({"labels": ["dog", "bark"]}, r"two different sounds; got \['dog'\]"),
        ({"batch": 0}, "batch=0"),
        ({"samples": 101}, "samples=101"),
    ],
)
def test_wrong_use(options, fault):
    with pytest.raises(ConfigError, match=fault):
        MixtureCaptions(torch.randn(2, 100), options.pop("labels", ["a", "b"]), **options)
