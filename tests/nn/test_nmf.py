"""Non-negative matrix factorisation: against scikit-learn, against the updates cell by cell, and its promises."""

import math
import warnings
from itertools import pairwise

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import NMF

from audioxai.errors import ConfigError, InputError
from audioxai.nn.nmf import AmortisedNMF, nmf, soft_mask


def spectrogram(rows=12, frames=30, seed=0):
    return torch.rand(rows, frames, generator=torch.Generator().manual_seed(seed))


def start(rows=12, frames=30, components=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, components, generator=generator), torch.rand(components, frames, generator=generator)


def product(factors):
    return factors.dictionary @ factors.activations


# The updates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterations", [1, 10, 150])
def test_scikit_learn_takes_the_same_steps(iterations):
    v, (w, h) = spectrogram(), start()
    ours = nmf(v, 4, iterations=iterations, tolerance=0.0, start=(w, h))
    theirs = NMF(4, init="custom", solver="mu", max_iter=iterations, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        w_theirs = theirs.fit_transform(v.double().numpy(), W=w.double().numpy(), H=h.double().numpy())
    length = torch.as_tensor(w_theirs).norm(dim=0)
    torch.testing.assert_close(ours.dictionary.double(), torch.as_tensor(w_theirs) / length, rtol=1e-3, atol=1e-4)
    h_theirs = torch.as_tensor(theirs.components_) * length[:, None]
    torch.testing.assert_close(ours.activations.double(), h_theirs, rtol=1e-3, atol=1e-3)
    assert (v - product(ours)).norm() == pytest.approx(theirs.reconstruction_err_, rel=1e-4)


def test_one_step_cell_by_cell():
    v, (w, h) = spectrogram(3, 4), start(3, 4, 2)
    ours = nmf(v, 2, iterations=1, start=(w, h))
    w_expected, h_expected = oracles.nmf_step(v.tolist(), w.tolist(), h.tolist())
    torch.testing.assert_close(product(ours), torch.tensor(w_expected) @ torch.tensor(h_expected))


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 12), st.data())
def test_the_error_never_rises_and_nothing_is_negative(rows, frames, data):
    components = data.draw(st.integers(1, frames))
    v = spectrogram(rows, frames, data.draw(st.integers(0, 99))) ** data.draw(st.sampled_from([1, 8]))
    v[data.draw(st.integers(0, rows - 1))] = 0.0 if rows > 1 else v[0]
    found = nmf(v, components, iterations=60, tolerance=0.0, seed=data.draw(st.integers(0, 9)))
    assert 2 <= len(found.losses) <= 7
    for before, after in pairwise(found.losses):
        assert after <= before * (1 + 1e-4) + 1e-9
    for part in (found.dictionary, found.activations):
        assert torch.isfinite(part).all()
        assert (part >= 0).all()
    length = found.dictionary.norm(dim=0)
    assert ((length - 1).abs().lt(1e-4) | (length < 1e-4)).all()
    assert float((v - product(found)).square().mean()) == pytest.approx(found.losses[-1], rel=1e-2, abs=1e-8)


def test_parts_that_are_there_are_found():
    """Three sounds of disjoint spectra and times."""
    w = torch.block_diag(*[torch.rand(5, 1, generator=torch.Generator().manual_seed(i)) + 0.1 for i in range(3)])
    h = torch.block_diag(*[torch.rand(1, 7, generator=torch.Generator().manual_seed(9 + i)) + 0.1 for i in range(3)])
    found = nmf(w @ h, 3, iterations=500, tolerance=0.0, seed=3)
    assert found.losses[-1] < 1e-8
    likeness = torch.nn.functional.normalize(w, dim=0).T @ found.dictionary
    torch.testing.assert_close(likeness.amax(1), torch.ones(3), rtol=0, atol=1e-3)
    assert likeness.argmax(1).unique().numel() == 3


def test_the_seed_decides():
    v = spectrogram()
    first, again, other = (nmf(v, 4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.dictionary, again.dictionary)
    assert torch.equal(first.activations, again.activations)
    assert not torch.allclose(first.dictionary, other.dictionary)
    torch.manual_seed(5)
    assert torch.equal(nmf(v, 4).dictionary, first.dictionary)


def test_it_stops_when_little_is_gained_and_changes_nothing_that_it_was_given():
    v, begin = spectrogram(), start()
    kept = [part.clone() for part in (v, *begin)]
    found = nmf(v, 4, iterations=5000, tolerance=1e-3, start=begin)
    assert 2 < len(found.losses) < 100
    assert found.losses[-2] ** 0.5 - found.losses[-1] ** 0.5 < 1e-3 * found.losses[0] ** 0.5
    assert all(torch.equal(a, b) for a, b in zip(kept, (v, *begin), strict=True))


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("v", "words"),
    [
        (torch.zeros(0, 5), r"at least one cell; got \(0, 5\)"),
        (torch.zeros(5, 0), r"at least one cell; got \(5, 0\)"),
        (torch.rand(2, 3, 4), r"\(F, N\).*got \(2, 3, 4\)"),
        (torch.rand(3, 4) * 1j, "complex64"),
        (torch.full((3, 4), -1.5), r"negative values down to -1\.5; factorise magnitudes"),
        (torch.full((3, 4), math.nan), "NaN or infinite"),
        (torch.full((3, 4), math.inf), "NaN or infinite"),
        (torch.zeros(3, 4), "zero everywhere"),
    ],
)
def test_what_is_no_spectrogram(v, words):
    with pytest.raises(InputError, match=words):
        nmf(v, 2)


def test_no_more_components_than_frames():
    assert nmf(spectrogram(9, 5), 5).dictionary.shape == (9, 5)
    assert nmf(spectrogram(3, 5), 5).dictionary.shape == (3, 5)  # more components than rows is no mistake
    with pytest.raises(ConfigError, match="components=6.*number of frames, here 5; take fewer"):
        nmf(spectrogram(9, 5), 6)
    with pytest.raises(ConfigError, match="components=0"):
        nmf(spectrogram(9, 5), 0)


@pytest.mark.parametrize("begin", [start(12, 29), start(11, 30), start(components=3), tuple(-p for p in start())])
def test_a_start_that_does_not_fit(begin):
    with pytest.raises(ConfigError, match=r"start must be W \(12, 4\) and H \(4, 30\)"):
        nmf(spectrogram(), 4, start=begin)


def test_iterations_are_positive():
    with pytest.raises(ConfigError, match="iterations=0"):
        nmf(spectrogram(), 4, iterations=0)


# The mask -------------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 999))
def test_the_mask_cell_by_cell(clips, rows, components, frames, seed):
    generator = torch.Generator().manual_seed(seed)
    w = torch.rand(rows, components, generator=generator)
    h = torch.rand(clips, components, frames, generator=generator) * (torch.rand(1, generator=generator) > 0.2)
    kept = torch.rand(clips, components, generator=generator) > 0.5
    mask = soft_mask(w, h, kept)
    assert mask.shape == (clips, rows, frames)
    for one, activations, chosen in zip(mask, h, kept, strict=True):
        expected = oracles.component_mask(w.tolist(), activations.tolist(), chosen.tolist())
        torch.testing.assert_close(one, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    assert ((mask >= 0) & (mask <= 1)).all()
    both = mask + soft_mask(w, h, ~kept)
    torch.testing.assert_close(both, (w @ h > 0).float(), rtol=0, atol=1e-5)


# The amortised form ---------------------------------------------------------------------------------------------------


def test_the_encoder_is_the_published_one():
    model = AmortisedNMF(513, 100)
    sizes = [(layer.in_channels, layer.out_channels, layer.kernel_size) for layer in model.encoder]
    assert sizes == [(513, 256, (8,)), (256, 128, (8,)), (128, 100, (8,))]
    assert model.weight.shape == (513, 100)
    assert 0 <= float(model.weight.detach().min()) < float(model.weight.detach().max()) <= 0.1
    v = torch.rand(2, 513, 21)
    h = model(v)
    assert h.shape == (2, 100, 21)
    assert (h >= 0).all()
    layers = [torch.nn.Conv1d(*size, padding="same") for size in sizes]
    expected = v
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that "same" with an even kernel is slow
        for mine, theirs in zip(model.encoder, layers, strict=True):
            theirs.load_state_dict(mine.state_dict())
            expected = theirs(expected).relu()
    torch.testing.assert_close(h, expected)


def test_its_loss_is_the_error_of_each_clip():
    torch.manual_seed(0)
    model = AmortisedNMF(6, 3, hidden=(5,), kernel=3)
    model.weight.data -= 0.05
    assert (model.dictionary >= 0).all()
    v = torch.rand(2, 6, 9)
    w, h = model.weight.detach().clamp(min=0), model(v)
    expected = [((w @ h[b] - v[b]) ** 2).mean().item() for b in range(2)]
    assert model.loss(v).tolist() == pytest.approx(expected, rel=1e-5)


def test_it_learns_nearly_as_good_a_dictionary():
    w, h = start(16, 120, 3)
    v = w @ (h * (h > 0.5))
    torch.manual_seed(0)
    model = AmortisedNMF(16, 3, hidden=(16,), kernel=1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss = model.loss(v[None]).sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02 * v.square().mean().item()
    assert nmf(v, 3, iterations=500).losses[-1] <= loss.item()
