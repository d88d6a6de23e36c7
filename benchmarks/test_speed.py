"""Speed as ratios within one run.

pytest benchmarks/test_speed.py --benchmark-only            # compact sizes
pytest benchmarks/test_speed.py --benchmark-only --full     # CNN14 at full width, 16 clips of 5 s
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import audioxai as ax
from audioxai.explainers.perturbation import tile_of
from audioxai.metrics import functional
from audioxai.nn import CNN14, CompactCNN
from audioxai.training.losses import target_log_probabilities

Report = list[tuple[str, float, str]]
RATE = 16000


def seconds(*calls: Callable[[], object], rounds: int = 3) -> list[float]:
    """Least time of each call, measured in turns, so that a slow spell of the machine hits all alike."""
    for call in calls:
        call()
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


@pytest.fixture(scope="module")
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """(width of CNN14, clips)."""
    return (64, 16) if request.config.getoption("--full") else (16, 8)


@pytest.fixture(scope="module")
def classifier(size: tuple[int, int]) -> ax.AudioClassifier:
    torch.manual_seed(0)
    network = CNN14(50, width=size[0])
    made = ax.AudioClassifier(network, sample_rate=RATE, frontend=ax.LogMel(RATE)).eval()
    made.requires_grad_(False)
    return made


@pytest.fixture(scope="module")
def clips(size: tuple[int, int]) -> Tensor:
    return 0.1 * torch.randn(size[1], 5 * RATE, generator=torch.Generator().manual_seed(0))


def fitted(classifier: ax.AudioClassifier, clips: Tensor, **options: object) -> ax.LMAC:
    return ax.LMAC(classifier, **options).fit([clips[:2]], epochs=1, progress=False)  # type: ignore[arg-type]


def test_import(benchmark: Callable[..., object], report: Report) -> None:
    def load(module: str) -> None:
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)

    ours, torchs = seconds(lambda: load("audioxai"), lambda: load("torch"))
    report.append(("import audioxai / import torch", ours / torchs, "1.15"))
    benchmark.pedantic(load, args=("audioxai",), rounds=3)  # type: ignore[attr-defined]


def test_explain_predicted_class(
    benchmark: Callable[..., object], report: Report, classifier: ax.AudioClassifier, clips: Tensor
) -> None:
    explainer = fitted(classifier, clips, evidence=False)

    def forward() -> None:
        with torch.no_grad():
            classifier(clips)

    ours, bare = seconds(lambda: explainer.explain(clips), forward)
    report.append(("LMAC.explain, latents / the classifier's forward", ours / bare, "1.25"))
    benchmark.pedantic(explainer.explain, args=(clips,), rounds=1)  # type: ignore[attr-defined]


def test_explain_any_target(
    benchmark: Callable[..., object], report: Report, classifier: ax.AudioClassifier, clips: Tensor
) -> None:
    explainer = fitted(classifier, clips)
    targets = [i % 50 for i in range(len(clips))]

    def to_latents() -> None:
        logits, latents = classifier.classify_with_latents(classifier.features(clips), differentiable=True)
        torch.autograd.grad(logits.gather(1, torch.tensor(targets)[:, None]).sum(), latents)

    ours, bare = seconds(lambda: explainer.explain(clips, targets), to_latents)
    report.append(("LMAC.explain, evidence / forward + backward to the latents", ours / bare, "1.25"))
    benchmark.pedantic(explainer.explain, args=(clips, targets), rounds=1)  # type: ignore[attr-defined]


def test_training_step(
    benchmark: Callable[..., object], report: Report, classifier: ax.AudioClassifier, clips: Tensor
) -> None:
    """The bare passes: latents, masked-in and masked-out forward, backward to the mask; and the decoder's own."""
    batch = clips[: max(2, len(clips) // 2)]
    explainer = fitted(classifier, clips, evidence=False, mixing=0.0)
    space, decoder = explainer.space, explainer.decoder.requires_grad_(True)
    with torch.no_grad():
        analysis = space.analyse(batch)
        features = space.features(analysis.values, analysis)
        logits, latents = classifier.classify_with_latents(features)
    classes, maps = logits.argmax(1).repeat(2), classifier.as_maps(latents)

    def passes() -> None:
        with torch.no_grad():
            classifier.classify_with_latents(space.features(space.analyse(batch).values, analysis))
        mask = torch.full_like(analysis.values, 0.5, requires_grad=True)
        both = torch.cat([mask * analysis.values, (1 - mask) * analysis.values])
        log_p, _ = target_log_probabilities(space.predict(both, analysis.repeat(2)), classes)
        (log_p.sum() + mask.sum()).backward()

    def own() -> None:
        decoder(maps, None, analysis.values).sigmoid().sum().backward()

    def step() -> None:
        explainer.training_step(batch)["loss"].backward()

    ours, bare, drawing = seconds(step, passes, own)
    report.append(("L-MAC step, latents / (bare passes + decoder)", ours / (bare + drawing), "1.15"))
    report.append(("of which the decoder / bare passes", drawing / bare, "–"))

    default = fitted(classifier, clips)
    default.decoder.requires_grad_(True)

    def default_step() -> None:
        default.training_step(batch)["loss"].backward()

    def naming() -> None:
        with torch.no_grad():
            classifier(batch)

    def evidence() -> None:
        logits, latents = classifier.classify_with_latents(features, differentiable=True)
        torch.autograd.grad(logits[:, 0].sum(), latents)

    def plain() -> None:
        with torch.no_grad():
            classifier.classify(features)

    ours, bare, drawing, name, read, once = seconds(default_step, passes, own, naming, evidence, plain)
    floor = bare - once + read + name + drawing
    report.append(("default L-MAC step / (its bare passes + naming the clips + decoder)", ours / floor, "1.15"))
    benchmark.pedantic(step, rounds=1)  # type: ignore[attr-defined]


def test_published_configuration(
    benchmark: Callable[..., object],
    report: Report,
    classifier: ax.AudioClassifier,
    clips: Tensor,
    size: tuple[int, int],
) -> None:
    """Step and explanation against the published decoder, 237 M parameters beside CNN14 at full width."""
    batch = clips[:2]
    ours = fitted(classifier, clips)
    theirs = ax.LMAC.reference(classifier, width=32 * size[0])
    theirs.decoder_ = theirs._build().eval().requires_grad_(False)
    explained = seconds(lambda: theirs.explain(batch), lambda: ours.explain(batch), rounds=1)
    report.append(("explain, published / default", explained[0] / explained[1], "at least 15"))

    def step(explainer: ax.LMAC) -> Callable[[], None]:
        explainer.decoder.requires_grad_(True)
        return lambda: explainer.training_step(batch)["loss"].backward()

    stepped = seconds(step(theirs), step(ours), rounds=1)
    report.append(("L-MAC step, published / default", stepped[0] / stepped[1], "at least 6"))
    benchmark.pedantic(ours.explain, args=(batch,), rounds=1)  # type: ignore[attr-defined]


def test_time_domain(benchmark: Callable[..., object], report: Report) -> None:
    """One clip of five seconds on the compact network, any target."""
    torch.manual_seed(0)
    classifier = ax.AudioClassifier(CompactCNN(10), sample_rate=RATE, frontend=ax.LogMel(RATE)).eval()
    clip = 0.1 * torch.randn(1, 5 * RATE, generator=torch.Generator().manual_seed(0))
    explainers = [kind(classifier).fit([clip], epochs=1, progress=False) for kind in (ax.LMACTD, ax.LMAC)]
    ours, theirs = seconds(*(lambda one=one: one.explain(clip, 3) for one in explainers), rounds=5)
    report.append(("explain a clip of 5 s, LMAC-TD / L-MAC", ours / theirs, "2"))
    benchmark.pedantic(explainers[0].explain, args=(clip, 3), rounds=1)  # type: ignore[attr-defined]


WRAPPED = [
    "Saliency",
    "InputXGradient",
    "IntegratedGradients",
    "GuidedBackprop",
    "GradCAM",
    "GradientSHAP",
    "Occlusion",
]


@pytest.mark.parametrize("method", WRAPPED)
def test_wrapper(
    benchmark: Callable[..., object], report: Report, classifier: ax.AudioClassifier, clips: Tensor, method: str
) -> None:
    """A method against the bare library on the same STFT values and targets."""
    from captum import attr

    clips, few = clips[:2], 4
    options: dict[str, dict[str, object]] = {
        "IntegratedGradients": {"n_steps": few},
        "GradientSHAP": {"n_samples": few},
        "Occlusion": {"tiles": (2, 3)},
    }
    explainer = getattr(ax, method)(classifier, max_batch=4, **options.get(method, {}))
    space, targets = explainer.space, [i % 50 for i in range(len(clips))]

    class Bare(torch.nn.Module):
        """What a caller of the bare library has to write: masked values to logits."""

        def __init__(self) -> None:
            super().__init__()
            self.network = classifier.network

        def forward(self, values: Tensor) -> Tensor:
            return space.predict(values, analysis)

    model = Bare()
    analysis = space.analyse(clips)

    def bare() -> None:
        values = space.analyse(clips).values.requires_grad_()
        if method == "GradientSHAP":
            import shap

            for i, target in enumerate(targets):
                picked = torch.nn.Sequential(model, _Pick(target))
                single = shap.GradientExplainer(picked, torch.zeros_like(values[:1]), batch_size=4)
                single.shap_values(values[i : i + 1], nsamples=few, rseed=0)
        elif method == "GradCAM":
            layer = classifier.network.get_submodule(explainer.layer)
            attr.LayerGradCam(model, layer).attribute(values, target=targets)
        elif method == "IntegratedGradients":
            attr.IntegratedGradients(model).attribute(
                values, target=targets, n_steps=few, internal_batch_size=4, return_convergence_delta=True
            )
        elif method == "Occlusion":
            tile = tile_of(space, values, (2, 3))
            with torch.no_grad():
                attr.FeatureAblation(model).attribute(values.detach(), target=targets, feature_mask=tile[None])
        elif method == "GuidedBackprop":
            attr.GuidedBackprop(model).attribute(values, target=targets)
        else:
            getattr(attr, method)(model).attribute(values, target=targets)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = seconds(lambda: explainer.attribute(clips, targets), bare, rounds=3)
        report.append((f"{method} / the bare library", ours / theirs, "1.05"))
        benchmark.pedantic(explainer.attribute, args=(clips, targets), rounds=1)  # type: ignore[attr-defined]


class _Pick(torch.nn.Module):
    """One class's logit, (R, 1)."""

    def __init__(self, target: int) -> None:
        super().__init__()
        self.target = target

    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, self.target : self.target + 1]


@pytest.mark.parametrize(("name", "budget"), [("sparseness", 7), ("complexity", 40)])
def test_quantus(benchmark: Callable[..., object], report: Report, name: str, budget: int) -> None:
    """Sparseness and complexity of 32 masks of 513 x 431."""
    import numpy as np
    import quantus

    masks = torch.rand(32, 513, 431, generator=torch.Generator().manual_seed(0))
    images = masks[:, None].numpy()
    theirs = getattr(quantus, name.capitalize())(
        normalise=False, abs=False, disable_warnings=True, display_progressbar=False
    )
    function = getattr(functional, name)
    ours, bare = seconds(
        lambda: function(masks), lambda: theirs(model=None, x_batch=images, y_batch=np.zeros(32), a_batch=images.copy())
    )
    report.append((f"Quantus / {name} of 32 masks", bare / ours, f"at least {budget}"))
    benchmark.pedantic(function, args=(masks,), rounds=1)  # type: ignore[attr-defined]


def test_metrics(
    benchmark: Callable[..., object], report: Report, classifier: ax.AudioClassifier, clips: Tensor
) -> None:
    """The eight standard metrics of an explanation against the three passes that they need."""
    clips = clips[:4]
    explainer = ax.EnergyMask(classifier, max_batch=len(clips))
    mask = explainer.explain(clips).mask
    space = explainer.space
    analysis = space.analyse(clips)

    @torch.no_grad()
    def passes() -> None:
        for values in (analysis.values, mask * analysis.values, (1 - mask) * analysis.values):
            classifier.probabilities(space.predict(values, analysis))

    class Given(ax.AllOnes):
        """An explainer that costs nothing but its own naming of the class."""

        def _control(self, values: Tensor, generators: list[torch.Generator]) -> Tensor:
            return mask

    given = Given(classifier, max_batch=len(clips))
    ours, bare = seconds(lambda: ax.evaluate([given], [clips]), passes, rounds=3)
    report.append(("evaluate, eight metrics / the three passes", ours / bare, "1.1"))
    benchmark.pedantic(passes, rounds=1)  # type: ignore[attr-defined]
