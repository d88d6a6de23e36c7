"""Gradient methods: closed forms on linear networks, Captum as the second witness, and what they refuse."""

import networks
import pytest
import torch
from every_explainer import CONTROLS, EXPLAINERS, LEARNED, TILED, make
from torch import nn

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError, InputError
from audioxai.explainers.target_score import generators_of

METHODS = [ax.Saliency, ax.InputXGradient, ax.SmoothGrad, ax.IntegratedGradients]


@pytest.mark.filterwarnings("ignore:.*attributions miss")
@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("network", ["log-mel CNN", "waveform CNN"])
def test_equal_to_the_bare_library(network, space):
    from captum import attr

    classifier, clips = networks.NETWORKS[network](), networks.clips(2, 4000)
    target = [3, 1]
    for method, bare, options in (
        (ax.Saliency, attr.Saliency, {"abs": False}),
        (ax.InputXGradient, attr.InputXGradient, {}),
        (ax.IntegratedGradients, attr.IntegratedGradients, {"n_steps": 50, "internal_batch_size": 2}),
    ):
        explainer = method(classifier, space=space)
        analysis = explainer.space.analyse(clips)

        def forward(values, rows, explainer=explainer, analysis=analysis):
            return explainer.space.predict(values, analysis.rows(rows))

        leaf = analysis.values.clone().requires_grad_()
        rows = torch.arange(2)
        if method is ax.IntegratedGradients:
            parts = [
                bare(forward).attribute(
                    leaf[i : i + 1], target=target[i], additional_forward_args=(rows[i : i + 1],), **options
                )
                for i in range(2)
            ]
            expected = torch.cat(parts)
        else:
            expected = bare(forward).attribute(leaf, target=target, additional_forward_args=(rows,), **options)
        torch.testing.assert_close(explainer.attribute(clips, target), expected.detach(), rtol=1e-4, atol=1e-6)


def test_integrated_gradients_add_up_and_say_when_not():
    explainer = ax.IntegratedGradients(networks.log_mel_cnn(), scale="magnitude")
    clips = networks.clips(2, 4000)
    attribution = explainer.attribute(clips, 1)
    logits = [explainer.classifier(x)[:, 1] for x in (clips, torch.zeros_like(clips))]
    torch.testing.assert_close(attribution.sum((1, 2)), (logits[0] - logits[1]).detach(), rtol=0.05, atol=0.02)
    assert explainer.gap_.shape == (2,)
    hasty = ax.IntegratedGradients(networks.log_mel_cnn(), n_steps=1)
    with pytest.warns(UserWarning, match="raise n_steps=1"):
        hasty.attribute(clips, 1)
    assert hasty.gap_.max() > 0.05


def test_a_baseline_of_ones_own():
    explainer = ax.IntegratedGradients(networks.linear(), scale="magnitude", baseline=0.5)
    clips = networks.clips(1, 4000)
    values = explainer.space.analyse(clips).values
    gradient = explainer.classifier.network.weight.detach().T[[2]][:, :, None] / values.shape[2]
    torch.testing.assert_close(explainer.attribute(clips, 2), gradient * (values - 0.5), rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match=r"\(3, 3\)"):
        ax.IntegratedGradients(networks.linear(), baseline=torch.zeros(3, 3)).explain(clips)


def test_smooth_grad_averages_seeded_draws():
    classifier, clips = networks.log_mel_cnn(), networks.clips(2, 4000)
    found = ax.SmoothGrad(classifier, n_samples=3, noise=0.2, seed=4).attribute(clips, 0)
    explainer = ax.Saliency(classifier, seed=4)
    analysis = explainer.space.analyse(clips)
    generators = generators_of(clips, explainer.seed)
    total = 0
    for _ in range(3):
        copies = []
        for value, generator in zip(analysis.values, generators, strict=True):
            noise = torch.randn(value.shape, generator=generator) * 0.2 * (value.max() - value.min())
            copies.append((value + noise).clamp(min=0))
        leaf = torch.stack(copies).requires_grad_()
        total = total + torch.autograd.grad(explainer.space.predict(leaf, analysis)[:, 0].sum(), leaf)[0]
    torch.testing.assert_close(found, total / 3, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda c: ax.IntegratedGradients(c, n_steps=0), "n_steps=0"),
        (lambda c: ax.IntegratedGradients(c, n_steps=True), "n_steps=True"),
        (lambda c: ax.Saliency(c, max_batch=2.5), "max_batch=2.5"),
        (lambda c: ax.Saliency(c, max_batch=0), "max_batch=0"),
        (lambda c: ax.SmoothGrad(c, n_samples=0), "n_samples=0"),
        (lambda c: ax.SmoothGrad(c, noise=0.0), "noise=0.0"),
        (lambda c: ax.LIME(c, kernel_width=0.0), "must be positive"),
        (lambda c: ax.LIME(c, ridge=0.0), "must be positive"),
        *(
            (lambda c, method=method, n=n: method(c, n_samples=n), f"n_samples={n}")
            for method in (ax.GradientSHAP, ax.KernelSHAP, ax.LIME)
            for n in (0, -1, 2.5)
        ),
    ],
)
def test_bad_options(build, words):
    with pytest.raises(ConfigError, match=words):
        build(networks.log_mel_cnn())


class Detached(nn.Module):
    """A network on the waveform that hides its input from autograd."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(1, 6, 65, 16)
        self.act = nn.ReLU()
        self.head = nn.Linear(6, 4)

    def forward(self, waveform):
        with torch.no_grad():
            return self.head(self.act(self.conv(waveform[:, None])).mean(2))


NEED_GRADIENTS = [EXPLAINERS[n] for n in sorted(EXPLAINERS.keys() - LEARNED - CONTROLS - TILED - {"ScoreCAM"})]


@pytest.mark.parametrize("method", NEED_GRADIENTS)
@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
def test_a_network_without_gradients_is_refused(method, space):
    classifier = ax.AudioClassifier(Detached(), sample_rate=networks.RATE, labels=networks.LABELS)
    with pytest.raises(ClassifierError, match="differentiable|differentiated"):
        method(classifier, space=space).explain(networks.clips())


class ThroughNumPy(Detached):
    def forward(self, waveform):
        return super().forward(torch.as_tensor(waveform.numpy()))


@pytest.mark.parametrize("method", [m for m in NEED_GRADIENTS if "CAM" not in m.__name__])
def test_a_network_that_leaves_torch_is_refused_for_that(method):
    classifier = ax.AudioClassifier(ThroughNumPy(), sample_rate=networks.RATE, labels=networks.LABELS)
    with pytest.raises(ClassifierError, match="Look for detach"):
        method(classifier, space="waveform").explain(networks.clips(), 0)


@pytest.mark.parametrize("method", ["ScoreCAM", "EnergyMask", *sorted(TILED)])
def test_the_others_do_not_need_gradients(method):
    classifier = ax.AudioClassifier(Detached(), sample_rate=networks.RATE, labels=networks.LABELS)
    mask = EXPLAINERS[method](classifier).explain(networks.clips()).mask
    assert mask.max() == 1
    assert mask.flatten(1).std(1).min() > 0


def test_a_method_may_have_no_meaning_in_a_space():
    class OnSpectra(ax.Saliency):
        spaces = ("stft", "mel")

    with pytest.raises(
        ConfigError, match=r"OnSpectra has no meaning in the 'waveform' space; choose from \('stft', 'mel"
    ):
        OnSpectra(networks.log_mel_cnn(), space="waveform")


class Infinite(nn.Module):
    """Finite scores with an infinite gradient at silence."""

    def forward(self, waveform):
        return waveform[:, :4].abs().sqrt()


def test_an_infinite_gradient_is_named():
    classifier = ax.AudioClassifier(Infinite(), sample_rate=networks.RATE, labels=networks.LABELS)
    with pytest.raises(ClassifierError, match="Saliency found NaN or infinite attributions"):
        ax.Saliency(classifier, space="waveform").explain(torch.zeros(1, 2000), 0)


@pytest.mark.filterwarnings("ignore:.*attributions miss")
def test_integrated_gradients_of_many_clips_keep_to_max_batch():
    """No forward sees more rows than max_batch, whatever the number of steps and clips."""
    classifier = networks.log_mel_cnn()
    seen = []
    classifier.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    data = {"baseline": "data", "n_baselines": 6}
    for method in ("IntegratedGradients", "SmoothGrad", "GradientSHAP", "DeepSHAP", "ScoreCAM", "LIME"):
        made = make(method, classifier, max_batch=4, **({} if method in ("SmoothGrad", "ScoreCAM") else data))
        made.fit([networks.clips(6, 3000)])
        seen.clear()
        made.explain(networks.clips(7, 3000)).scores  # noqa: B018
        assert 0 < max(seen) <= 4, method


@pytest.mark.parametrize(
    ("method", "name", "words"),
    [
        (ax.IntegratedGradients, "baselines", "no option 'baselines'; the nearest are 'baseline'"),
        (ax.SmoothGrad, "nsamples", "'n_samples'"),
        (ax.LMAC, "Lambda_S", "'lambda_s'"),
        (ax.EnergyMask, "scales", "'scale'"),
    ],
)
def test_an_unknown_option_names_the_nearest(method, name, words):
    with pytest.raises(ConfigError, match=words):
        method(networks.log_mel_cnn(), **{name: 1})
