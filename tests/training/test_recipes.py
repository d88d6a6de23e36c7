"""Training the reference classifiers: it learns, augments as documented, and refuses what is no labelled batch."""

import math

import networks
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.errors import InputError
from audioxai.nn import WaveformCNN
from audioxai.training.recipes import accuracy, augment, train_classifier

SAMPLES = 2000


def tones(count, seed=0):
    """Four classes of tones in noise."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % 4
    hertz = torch.tensor([200.0, 600, 1400, 3000])[classes] * (1 + 0.1 * torch.rand(count, generator=generator))
    time = torch.arange(SAMPLES) / networks.RATE
    sound = 0.3 * torch.sin(2 * torch.pi * hertz[:, None] * time + 6 * torch.rand(count, 1, generator=generator))
    return sound + 0.02 * torch.randn(count, SAMPLES, generator=generator), classes


def classifier(multilabel=False, labels=networks.LABELS):
    torch.manual_seed(0)
    network = WaveformCNN(4, widths=(8, 12, 16), strides=(16, 4, 4))
    return ax.AudioClassifier(network, sample_rate=networks.RATE, labels=labels, multilabel=multilabel)


def loader(count=64, **options):
    return DataLoader(TensorDataset(*tones(count)), **{"batch_size": 16, "shuffle": True, **options})


def train(model, batches, **options):
    return train_classifier(model, batches, **{"epochs": 1, "progress": False, **options})


def test_it_learns_what_can_be_learnt():
    model = classifier()
    history = train(model, loader(), epochs=25, val_loader=[tones(16, seed=1)], patience=25)
    assert not model.training
    assert history[-1]["loss"] < history[0]["loss"]
    assert accuracy(model, [tones(40, seed=2)]) >= 0.9
    assert all(p.requires_grad for p in model.parameters())


def test_several_labels_a_clip():
    model = classifier(multilabel=True)
    clips, classes = tones(64)
    partner = (classes + 1) % 4
    both = torch.nn.functional.one_hot(classes, 4) | torch.nn.functional.one_hot(partner, 4)
    mixed = clips + tones(64, seed=3)[0].roll(-1, 0)
    history = train(model, [(mixed[i::4], both[i::4]) for i in range(4)], epochs=20, augmented=False)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]


def test_the_seed_decides():
    def weights(**options):
        model = classifier()
        train(model, loader(32), **options)
        return torch.cat([p.flatten() for p in model.parameters()]).detach()

    first = weights()
    torch.manual_seed(77)
    assert torch.equal(weights(), first)
    assert not torch.equal(weights(seed=3), first)
    assert not torch.equal(weights(augmented=False), first)


def test_validation_is_not_augmented(monkeypatch):
    calls = []
    monkeypatch.setattr("audioxai.training.recipes.augment", lambda x, y: calls.append(len(x)) or (x, y))
    train(classifier(), loader(32, batch_size=8), val_loader=[tones(3)])
    assert calls == [8] * 4
    train(classifier(), loader(32), augmented=False)
    assert calls == [8] * 4


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (tones(4)[0], "takes batches of .waveform, label.; got Tensor"),
        ({"waveform": 1, "label": 2, "path": 3}, "got dict"),
        ((tones(4)[0], torch.tensor([0, 1, 2, 4])), r"0 to 3; got \[0, 1, 2, 4\]"),
        ((tones(4)[0], torch.tensor([0, 1, -1, 2])), "0 to 3"),
        ((tones(4)[0], torch.tensor([0.0, 1, 2, 3])), "class numbers"),
        ((tones(4)[0], torch.tensor([0, 1])), "4 clips, but 2 labels"),
        ((torch.full((2, SAMPLES), math.nan), torch.tensor([0, 1])), "NaN"),
        ((tones(4)[0].short(), torch.tensor([0, 1, 2, 3])), "int16"),
    ],
)
def test_what_is_no_labelled_batch(batch, words):
    with pytest.raises(InputError, match=words):
        train(classifier(), [batch])


def test_class_numbers_need_labels():
    with pytest.raises(InputError, match=r"labels=\[\.\.\.\]"):
        train(classifier(labels=None), [tones(4)])


def test_layouts_of_a_batch_do_not_matter():
    clips, classes = tones(8)
    one_hot = torch.nn.functional.one_hot(classes, 4)
    results = []
    for batch in ((clips, classes), (clips[:, None], classes), (clips.numpy(), classes.numpy()), (clips, one_hot)):
        model = classifier()
        train(model, [batch])
        results.append(model.network.head.weight.detach().clone())
    assert all(torch.equal(r, results[0]) for r in results)


def test_augmented_clips_keep_their_shares_of_energy():
    """Clip i is a tone of its own, so the share of each label can be measured in the mixture."""
    count, samples = 64, 4096
    time = torch.arange(samples) / samples
    level = torch.linspace(0.05, 1, count)[:, None]
    clips = level * torch.sin(2 * torch.pi * (20 + 30 * torch.arange(count))[:, None] * time)
    torch.manual_seed(0)
    mixed, labels = augment(clips, torch.eye(count))
    assert mixed.shape == clips.shape
    torch.testing.assert_close(labels.sum(1), torch.ones(count))
    assert ((labels >= 0) & (labels <= 1)).all()
    energy = torch.fft.rfft(mixed).abs().square()[:, 20 + 30 * torch.arange(count)]
    shares = energy / energy.sum(1, keepdim=True)
    for i in range(count):
        if labels[i].max() > 0.98:
            continue
        for j in labels[i].nonzero()[:, 0].tolist():
            assert shares[i, j].item() == pytest.approx(labels[i, j].item(), abs=0.1)
    untouched = (labels.amax(1) == 1).float().mean()
    assert 0.3 < untouched < 0.7
    ratio = 20 * torch.log10(mixed.norm(dim=1) / clips.norm(dim=1))
    assert ratio.min() > -12.5
    assert ratio.max() < 9.5  # a clip drawn as its own partner gains up to 3 dB
    assert ratio.std() > 3


def test_augmenting_shifts_and_adds_noise():
    clips = torch.zeros(8, 1000)
    clips[:, 100] = 1
    torch.manual_seed(0)
    mixed, _ = augment(clips, torch.eye(8))
    peaks = mixed.abs().argmax(1)
    assert len(set(peaks.tolist())) >= 6
    rest = mixed.abs().sort(1).values[:, :900]
    assert (rest.mean(1) > 0).all()
    assert clips[:, 100].eq(1).all()


def test_silent_clips_stay_finite():
    clips = torch.zeros(6, 500)
    clips[:3] = 0.1 * torch.randn(3, 500)
    for seed in range(5):
        torch.manual_seed(seed)
        mixed, labels = augment(clips, torch.eye(6))
        assert torch.isfinite(mixed).all()
        assert torch.isfinite(labels).all()
        assert mixed.abs().max() < 10


def test_accuracy_by_hand():
    model = classifier().train()
    clips, _ = tones(10)
    predicted = classifier().eval()(clips).argmax(1)
    labels = predicted.clone()
    labels[:3] = (labels[:3] + 1) % 4
    assert accuracy(model, [(clips[:4], labels[:4]), (clips[4:], labels[4:])]) == pytest.approx(0.7)
    assert model.training
    with pytest.raises(InputError, match="no clip"):
        accuracy(model, [])
    assert np.isfinite(accuracy(model, [(clips, labels)]))
