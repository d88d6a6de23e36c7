"""What every explainer promises, for every kind of network and every space; and that the checks can fail."""

import threading
import warnings

import networks
import pytest
import torch
from every_explainer import EXPLAINERS, LEARNED, NOT_ON_SAMPLES, RANDOM
from torch import Tensor

import audioxai as ax
from audioxai.errors import ConfigError, InputError
from audioxai.testing import CHECKS, check_explainer

SPACES = ["stft", "mel", "waveform"]
# Few steps, for speed; and DeepSHAP has no rule for attention.
pytestmark = pytest.mark.filterwarnings("ignore:.*attributions miss")
CLIPS = networks.clips(3, 3000)


def explainer(method: str, network: str = "log-mel CNN", space: str = "stft", **options: object) -> ax.Explainer:
    made: ax.Explainer = EXPLAINERS[method](networks.NETWORKS[network]().eval(), space=space, **options)
    return made.fit([networks.clips(4, 3000)], epochs=1, progress=False) if method in LEARNED else made


def test_every_public_explainer_is_checked():
    public = {name for name in ax.__all__ if isinstance(getattr(ax, name), type)}
    concrete = {n for n in public if issubclass(getattr(ax, n), ax.Explainer)} - {"Explainer", "LearnedExplainer"}
    assert concrete == {"LMAC" if name.startswith("L-MAC") else name for name in EXPLAINERS}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("network", networks.NETWORKS)
@pytest.mark.parametrize("method", EXPLAINERS)
def test_contract(method, network, space):
    if space == "waveform" and method in NOT_ON_SAMPLES:
        with pytest.raises(ConfigError, match="no meaning in the 'waveform' space"):
            explainer(method, network, space)
        return
    check_explainer(explainer(method, network, space), CLIPS)


@pytest.mark.parametrize(("network", "space"), [("tokens", "stft"), ("log-mel CNN", "mel"), ("tokens", "waveform")])
@pytest.mark.parametrize("decoder", ["sound", "evidence"])
def test_contract_of_the_decoders_for_one_network(decoder, network, space):
    check_explainer(explainer("L-MAC", network, space, decoder_name=decoder), CLIPS)


@pytest.mark.parametrize("method", EXPLAINERS)
def test_the_seed_decides_where_something_is_drawn(method):
    masks = [explainer(method, seed=seed).explain(CLIPS).mask for seed in (0, 0, 5)]
    assert torch.equal(masks[0], masks[1])
    if method not in LEARNED:  # whose seed is that of the fit
        assert torch.equal(masks[0], masks[2]) == (method not in RANDOM)


@pytest.mark.parametrize("method", EXPLAINERS)
def test_no_warning_of_ours_and_one_for_loud_integers(method):
    made = explainer(method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*attributions miss")
        made.explain(CLIPS)
    with pytest.warns(UserWarning, match="divide 16-bit values"):
        made.explain(CLIPS * 20000)


class _Honest(ax.Explainer):
    def _attribute(self, values: Tensor, score: object) -> Tensor:
        return values


class _Outside(_Honest):
    def _solve(self, analysis, target):
        solution = super()._solve(analysis, target)
        object.__setattr__(solution, "mask", 1.5 * solution.mask)
        return solution


class _NextToEachOther(_Honest):
    def _attribute(self, values, score):
        return values / values.max() + torch.arange(len(values)).reshape(-1, 1, 1)


class _GlobalRandomness(_Honest):
    def _attribute(self, values, score):
        return values + torch.rand(values.shape)


class _LeavesAHook(_Honest):
    def _attribute(self, values, score):
        self.classifier.network.register_forward_hook(lambda *_: None)
        return values


class _SumsGradients(_Honest):
    def _attribute(self, values, score):
        for parameter in self.classifier.network.parameters():
            parameter.grad = None
        return values


class _DividesByLoudness(_Honest):
    def _solve(self, analysis, target):
        solution = super()._solve(analysis, target)
        object.__setattr__(solution, "mask", analysis.values / analysis.values.sum((1, 2), keepdim=True).floor())
        return solution


class _WritesInTheFrontEnd(_Honest):
    def _pack(self, *parts):
        self.classifier.frontend.bank.mul_(1.001)
        return super()._pack(*parts)


class _SharesAScratch(_Honest):
    meeting = None

    def explain_all(self, waveform, targets, **options):
        self.scratch = waveform
        if threading.current_thread() is not threading.main_thread():
            type(self).meeting = type(self).meeting or threading.Barrier(2)
            self.meeting.wait(10)
        return super().explain_all(self.scratch, targets, **options)


class _HoldsAFile(_Honest):
    def __init__(self, classifier, **options):
        super().__init__(classifier, **options)
        classifier.network.lock = threading.Lock()


class _OneTargetForAll(_Honest):
    def _attribute(self, values, score):
        given = score.target.classes is None
        return values + given * torch.linspace(0, 1, values.shape[1])[:, None]


class _Wears(_Honest):
    def __init__(self, classifier, *, power=1.0, **base):
        super().__init__(classifier, **base)
        self.power = power

    def _attribute(self, values, score):
        self.power += 1
        return values


class _HidesAnOption(_Honest):
    def __init__(self, classifier, *, power=1.0, **base):
        super().__init__(classifier, **base)
        self._exponent = power


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (_Outside, "result: the mask runs"),
        (_NextToEachOther, "composition: a clip alone"),
        (_NextToEachOther, "max_batch: max_batch=1: mask differs"),
        (_GlobalRandomness, "seed: a second run"),
        (_LeavesAHook, "untouched: after explain.*hook"),
        (_SumsGradients, "untouched: after explain.*gradients"),
        (_DividesByLoudness, "silence: .*found NaN in a mask"),
        (_WritesInTheFrontEnd, "untouched: after explain.*frontend.bank has changed"),
        (_SharesAScratch, "threads: thread 1 of 2: mask differs"),
        (_HoldsAFile, "copies: TypeError: cannot pickle"),
        (_OneTargetForAll, "targets: target="),
        (_Wears, r"identity: explain\(\) changes it: options.power=[0-9.]+, now [0-9.]+"),
        (_HidesAnOption, "identity: .*_HidesAnOption keeps no attribute 'power'"),
    ],
)
def test_a_broken_promise_is_found(method, broken):
    classifier = networks.log_mel_cnn()
    check_explainer(_Honest(classifier), CLIPS)
    with pytest.raises(AssertionError, match=broken):
        check_explainer(method(classifier), CLIPS)


def test_the_checks_take_options():
    made = explainer("Saliency")
    check_explainer(made)
    check_explainer(made, CLIPS, only=["silence"])
    assert set(CHECKS) >= {"silence", "untouched"}
    with pytest.raises(ConfigError, match="nearest: 'silence'"):
        check_explainer(made, only=["silense"])
    with pytest.raises(InputError, match="at least two clips"):
        check_explainer(made, CLIPS[:1])
