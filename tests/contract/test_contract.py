"""What every explainer promises, for every kind of network and every space."""

import warnings

import networks
import numpy as np
import pytest
import torch

import audioxai as ax
from audioxai.errors import AudioXAIError, InputError, TargetError

EXPLAINERS = {
    "L-MAC": lambda c, **o: ax.LMAC(c, width=8, **o),
    "GradCAM": ax.GradCAM,
    "Saliency": ax.Saliency,
    "InputXGradient": ax.InputXGradient,
    "SmoothGrad": lambda c, **o: ax.SmoothGrad(c, n_samples=3, **o),
    "IG": lambda c, **o: ax.IntegratedGradients(c, n_steps=8, **o),
    "all-ones": ax.AllOnes,
    "random": ax.RandomMask,
    "energy": ax.EnergyMask,
}
SPACES = ["stft", "mel", "waveform"]
pytestmark = pytest.mark.filterwarnings("ignore:integrated gradients miss")  # eight steps are for speed
_fitted = {}


def explainer(method, network, space, **options):
    """One fitted explainer per combination; other options get a copy that shares the decoder."""
    key = (method, network, space)
    if key not in _fitted:
        classifier = networks.NETWORKS[network]().eval()
        _fitted[key] = EXPLAINERS[method](classifier, space=space).fit(
            [networks.clips(4, 4000)], **({"epochs": 1, "progress": False} if method == "L-MAC" else {})
        )
    made = _fitted[key]
    if not options:
        return made
    other = EXPLAINERS[method](made.classifier, space=space, **options)
    if method == "L-MAC":
        other.decoder_ = made.decoder_
    return other


everything = pytest.mark.parametrize(
    ("method", "network", "space"),
    [(m, n, s) for m in EXPLAINERS for n in networks.NETWORKS for s in SPACES],
)
once = pytest.mark.parametrize("method", EXPLAINERS)


def same(a, b, tolerance=1e-5):
    for name in ("mask", "waveform", "removed", "target"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance)
    for x, y in zip(a.scores, b.scores, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=tolerance)


@everything
def test_shapes_ranges_and_the_result(method, network, space):
    clips = networks.clips(3, 5001)
    result = explainer(method, network, space).explain(clips)
    mask, waveform = result
    rows = {"stft": (513,), "mel": (80,) if network == "waveform CNN" else (32,), "waveform": ()}[space]
    assert mask.shape == (3, *rows, 5001 if space == "waveform" else result.stft.frames(5001))
    assert waveform.shape == result.removed.shape == clips.shape
    assert ((mask >= 0) & (mask <= 1)).all()
    assert torch.isfinite(waveform).all()
    assert torch.isfinite(result.removed).all()
    assert result.target.tolist() == result.scores.input.argmax(1).tolist()
    assert result.target_names == [networks.LABELS[k] for k in result.target]
    assert len(result) == 3
    for probabilities in result.scores:
        assert probabilities.shape == (3, 4)
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
    total = 1 if network != "multi-label" else None
    if total:
        torch.testing.assert_close(result.scores.kept.sum(1), torch.ones(3))


@everything
def test_batching_does_not_matter(method, network, space):
    clips = networks.clips(5, 4000)
    whole = explainer(method, network, space).explain(clips)
    same(whole, explainer(method, network, space, max_batch=2).explain(clips))
    same(whole[3], explainer(method, network, space).explain(clips[3]))
    order = torch.tensor([4, 2, 0, 1, 3])
    shuffled = explainer(method, network, space).explain(clips[order])
    torch.testing.assert_close(shuffled.mask, whole.mask[order], rtol=0, atol=1e-5)


@everything
def test_the_network_is_left_as_it_was(method, network, space):
    made = explainer(method, network, space)
    model = made.classifier
    model.network.train()
    first = next(iter(model.network.parameters()))
    first.grad = torch.ones_like(first)
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    random = torch.random.get_rng_state()
    try:
        for waveform, target in ((networks.clips(), None), (networks.clips(), 99)):
            try:
                made.explain(waveform, target)
            except TargetError:
                assert target == 99
        assert all(m.training for m in model.network.modules())
        assert all(p.requires_grad for p in model.network.parameters())
        assert torch.equal(first.grad, torch.ones_like(first))
        assert all(p.grad is None for p in list(model.network.parameters())[1:])
        assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
        for name, value in model.network.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert torch.equal(torch.random.get_rng_state(), random)
    finally:
        first.grad = None
        model.eval()


@once
@pytest.mark.parametrize("space", SPACES)
def test_input_layouts_agree(method, space):
    made = explainer(method, "log-mel CNN", space)
    clip = networks.clips(1, 4000)
    whole = made.explain(clip)
    for given in (clip[0], clip[:, None], clip.numpy(), clip[0].double(), clip[0].tolist()):
        same(whole, made.explain(given))
    strided = torch.stack([clip[0], clip[0]], 1)[:, 0]
    same(whole, made.explain(strided))


@once
def test_every_form_of_target(method):
    made = explainer(method, "log-mel CNN", "stft")
    clips = networks.clips(3, 4000)
    by_index = made.explain(clips, 2)
    for target in ("siren", torch.tensor(2), np.int64(2), [2, 2, 2], ["siren"] * 3, torch.tensor([2, 2, 2])):
        same(by_index, made.explain(clips, target))
    members = torch.zeros(3, 4, dtype=torch.bool)
    members[:, 2] = True
    for target in (members, lambda logits: logits[:, 2]):
        other = made.explain(clips, target)
        torch.testing.assert_close(other.mask, by_index.mask, rtol=0, atol=1e-5)
        assert other.target is None
    for bad in (1.5, [0, 1], "cat", 4, torch.tensor([0.0, 1.0, 2.0])):
        with pytest.raises(TargetError):
            made.explain(clips, bad)


@once
def test_the_callers_grad_mode_does_not_matter(method):
    made, clips = explainer(method, "log-mel CNN", "stft"), networks.clips(2, 4000)
    whole = made.explain(clips)
    with torch.no_grad():
        same(whole, made.explain(clips))
    with torch.inference_mode():
        same(whole, made.explain(networks.clips(2, 4000)))


@once
def test_explain_all_is_one_explanation_per_target(method):
    made = explainer(method, "log-mel CNN", "stft")
    clips = networks.clips(2, 4000)
    for target, result in zip((0, "bell"), made.explain_all(clips, [0, "bell"]), strict=True):
        same(result, made.explain(clips, target))
    assert made.explain_all(clips, []) == []


@once
@pytest.mark.parametrize("network", networks.NETWORKS)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("samples", [1, 50, 401, 4001])
def test_odd_lengths_give_a_result_or_a_reason(method, network, space, samples):
    try:
        result = explainer(method, network, space).explain(networks.clips(1, samples))
    except AudioXAIError as error:
        assert samples <= 401
        assert "pad" in str(error)
    else:
        assert result.waveform.shape == (1, samples)
        assert torch.isfinite(result.mask).all()
        assert all(torch.isfinite(s).all() for s in result.scores)


@everything
def test_silence_is_finite(method, network, space):
    result = explainer(method, network, space).explain(torch.zeros(2, 4000))
    assert torch.isfinite(result.mask).all()
    assert result.waveform.abs().max() < 1e-4
    assert all(torch.isfinite(s).all() for s in result.scores)


@once
@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (torch.tensor([float("nan")] * 4000), "clip 0 of 1 holds NaN"),
        (torch.stack([torch.zeros(4000), torch.full((4000,), float("inf"))]), "clip 1 of 2"),
        (torch.zeros(4000, dtype=torch.int16), "int16"),
        (torch.zeros(4000, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, 2, 4000), r"\(2, 2, 4000\)"),
        (torch.zeros(1, 1, 1, 4000), r"\(1, 1, 1, 4000\)"),
        (torch.zeros(0, 4000), "no samples"),
        (torch.zeros(3, 0), "no samples"),
        (torch.tensor(0.5), r"got \(\)"),
        (None, "NoneType"),
        (["a", "b"], "list"),
    ],
)
def test_bad_waveforms(method, waveform, words):
    with pytest.raises(InputError, match=words):
        explainer(method, "log-mel CNN", "stft").explain(waveform)


@once
def test_another_rate_is_resampled_and_loud_integers_are_noticed(method):
    made = explainer(method, "log-mel CNN", "stft")
    clip = networks.clips(1, 16000)
    result = made.explain(clip, sample_rate=16000)
    assert result.waveform.shape == (1, 8000)
    assert result.sample_rate == 8000
    same(result, made.explain(ax.dsp.resample(clip, 16000, 8000)))
    with pytest.warns(UserWarning, match="divide 16-bit values"):
        made.explain(clip * 20000)


@once
def test_the_seed_decides_and_nothing_else(method):
    clips = networks.clips(2, 4000)
    first = explainer(method, "log-mel CNN", "stft").explain(clips)
    torch.manual_seed(123)
    torch.rand(7)
    same(first, explainer(method, "log-mel CNN", "stft").explain(clips), tolerance=0)
    other = explainer(method, "log-mel CNN", "stft", seed=5).explain(clips)
    assert torch.equal(other.mask, first.mask) == (method not in ("random", "SmoothGrad"))


@once
def test_no_warning_of_ours(method):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "integrated gradients miss")
        explainer(method, "log-mel CNN", "stft").explain(networks.clips())
