"""The contrastive loss by the book, and a zero-shot classifier learnt from labelled clips."""

import oracles
import pytest
import torch

from audioxai.errors import InputError
from audioxai.nn import CompactCLAP, CompactCNN
from audioxai.sound.frontends import LogMel
from audioxai.training import contrastive
from audioxai.training.contrastive import contrastive_loss, train_clap, train_zero_shot

LABELS = ("low_whistle", "high_whistle")


def whistles(count, seed):
    """Clips (2 * count, 4000) of low and high tones at 8 kHz in noise, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(2 * count) % 2
    hz = 300 + 1700 * classes + 300 * torch.rand(2 * count, generator=generator)
    tone = torch.sin(2 * torch.pi * hz[:, None] * torch.arange(4000) / 8000)
    return 0.1 * tone + 0.005 * torch.randn(2 * count, 4000, generator=generator), classes


def test_loss_by_the_book():
    generator = torch.Generator().manual_seed(0)
    audio, text = (torch.randn(n, 6, generator=generator) for n in (4, 5))
    audio, text = (torch.nn.functional.normalize(x, dim=1) for x in (audio, text))
    matches = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    logits = (7.0 * audio @ text.T).tolist()
    found = contrastive_loss(audio, text, matches, 7.0)
    assert found.item() == pytest.approx(oracles.contrastive(logits, matches.tolist()), rel=1e-5)
    assert contrastive_loss(audio, text, torch.zeros(4, 5).bool(), 7.0) == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert contrastive_loss(audio, text, matches, 7.0) == found


def learn(**options):
    clips, classes = whistles(8, seed=0)
    chosen = {"sample_rate": 8000, "scenes": 20, "epochs": 25, "batch": 12, "progress": False, "device": "cpu"}
    return train_zero_shot(clips, classes, LABELS, **{**chosen, **options})


def test_it_learns_what_labels_mean():
    before = torch.get_rng_state()
    classifier, history = learn()
    assert torch.equal(torch.get_rng_state(), before)
    assert len(history) == 25
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert not classifier.training
    assert (classifier.labels, classifier.templates) == (LABELS, ("the sound of {}",))
    clips, classes = whistles(20, seed=1)
    with torch.no_grad():
        assert (classifier(clips).argmax(1) == classes).float().mean() > 0.9
        classifier.set_prompts(["someone whistles low", "whistling high"], template="{}")
        assert (classifier(clips).argmax(1) == classes).float().mean() > 0.8


def test_the_seed_decides_and_pieces_may_be_shorter():
    first, second, other = (learn(epochs=1, seed=seed, seconds=0.2)[0] for seed in (3, 3, 4))
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()


def test_the_audio_tower_may_start_from_a_classifier(monkeypatch):
    monkeypatch.setattr(contrastive, "train_clap", lambda *_args, **_options: [])
    start = CompactCNN(10)
    classifier, _ = learn(start=start)
    mine, given = classifier.network.encoder.state_dict(), start.state_dict()
    assert all(torch.equal(mine[name], given[name]) for name in given if not name.startswith("head."))
    assert mine["head.weight"].shape == (128, 128)


def test_captions_of_your_own():
    clips, classes = whistles(4, seed=0)
    clap, frontend = CompactCLAP(dim=16), LogMel(8000)
    captions = [LABELS[k] for k in classes.tolist()]
    history = train_clap(clap, frontend, [(clips, captions, None)] * 4, epochs=3, progress=False)
    assert history[-1]["loss"] < history[0]["loss"]
    matches = torch.eye(8).bool()
    assert len(train_clap(clap, frontend, [(clips, captions, matches)], epochs=1, progress=False)) == 1
    with pytest.raises(InputError, match=r"matches of shape \(8, 8\); got \(8, 7\)"):
        train_clap(clap, frontend, [(clips, captions, matches[:, 1:])], epochs=1, progress=False)
    with pytest.raises(InputError, match="captions, matches"):
        train_clap(clap, frontend, [(clips, captions)], epochs=1, progress=False)
