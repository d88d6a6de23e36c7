"""L2I: what a classifier hears, said in the components of a dictionary of sounds.

Source: Parekh, Parekh, Mozharovskyi, d'Alché-Buc, Richard, "Listen to Interpret: Post-hoc Interpretability for Audio
Networks with NMF", NeurIPS 2022; published settings as in the L-MAC recipe, which compares with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.targets import Target, TargetLike, parse_target
from audioxai.errors import ConfigError, InputError, TargetError
from audioxai.explainers.base import Solution, at_least_one
from audioxai.explainers.learned import LearnedExplainer
from audioxai.explainers.registry import register
from audioxai.explainers.score import generators_of
from audioxai.masking.spaces import Analysis
from audioxai.nn.interpreter import (
    ActivationDecoder,
    AttentionPooling,
    Interpreter,
    PositionPooling,
    PublishedActivationDecoder,
    Reading,
)
from audioxai.nn.nmf import AmortisedNMF, nmf, soft_mask
from audioxai.sound.inputs import WaveformLike, read_batch
from audioxai.training.loop import TrainingOptions, train
from audioxai.training.loss_weights import LossWeight, weigh

__all__ = ["L2I"]

_FRAMES = 20_000  # of which the dictionary is made, drawn from all clips
_SILENT = 1e-5
_AMORTISED: dict[str, Any] = {"lr": 5e-5, "weight_decay": 2e-6}  # L-MAC recipe


@register("l2i")
class L2I(LearnedExplainer):
    """Listen to interpret: the components of a dictionary that matter for the target, kept by a soft mask.

    ``fit`` first factorises the clips' V = log(1 + magnitude), on whichever scale the space is, into dictionary and
    activations (NMF). Then an interpreter learns to read activations H from the classifier's latents, such that W H is
    the clip's V, few components sound, and a linear layer on the time-pooled H repeats the classifier's decision.

    A component's relevance for a class is its weight there times its pooled activation, over the clip's largest in
    magnitude. Weights are taken over the mean of all classes, since a softmax is blind to what they share and fitting
    leaves that as it began; not so in multi-label networks and in the published form. The mask is the share of the
    components above ``threshold`` in W H, and multiplies the space's values; when none is above, it is empty. A target
    that is no single class weighs the classes by the gradient of its score to the classifier's logits.

    Args:
        classifier: the wrapped network.
        components: R, sounds in the dictionary; at most the audible frames of the clips.
        threshold: least relevance of a component that is kept, in [0, 1); it may be changed after fitting. Published:
            0.2 in tables, and 0.4 in the listening study.
        lambda_nmf: weight of the mean of (V - W H)^2.
        lambda_sparsity: weight of the mean of H.
        lambda_fidelity: weight of the cross-entropy from the classifier's probabilities to the interpreter's, in nats.
        width: channels of the interpreter; the published one has 2048.
        published: the recipe's interpreter, 237 M parameters for CNN14, which reads four maps and pools by position.
        amortised_epochs: passes that learn the dictionary with an encoder as published; 0: multiplicative updates on
            at most 20 000 frames drawn from all clips.
        **base: see :class:`audioxai.explainers.base.Explainer`.

    Example:
        >>> explainer = L2I(classifier).fit(loader)
        >>> mask, audio = explainer.explain(waveform)
        >>> explainer.threshold = 0.4
        >>> stricter, audio = explainer.explain(waveform)
    """

    spaces: ClassVar[tuple[str, ...]] = ("stft", "mel")
    lambda_nmf, lambda_sparsity, lambda_fidelity = LossWeight("nmf"), LossWeight("sparsity"), LossWeight("fidelity")
    _published: ClassVar[Mapping[str, Any]] = {
        "components": 100, "lambda_nmf": 10.0, "lambda_sparsity": 0.8, "width": 2048, "published": True,
        "amortised_epochs": 300,
    }  # fmt: skip

    def __init__(
        self,
        classifier: AudioClassifier,
        *,
        components: int = 100,
        threshold: float = 0.2,
        lambda_nmf: float = 10.0,
        lambda_sparsity: float = 0.8,
        lambda_fidelity: float = 1.0,
        width: int = 64,
        published: bool = False,
        amortised_epochs: int = 0,
        **base: Any,
    ) -> None:
        super().__init__(classifier, **base)
        if not amortised_epochs >= 0:
            raise ConfigError(f"amortised_epochs={amortised_epochs} must be at least 0")
        self.components = at_least_one("components", components)
        self.threshold = threshold
        self.lambda_nmf = lambda_nmf
        self.lambda_sparsity = lambda_sparsity
        self.lambda_fidelity = lambda_fidelity
        self.width = at_least_one("width", width)
        self.published = published
        self.amortised_epochs = amortised_epochs
        self._schedule = {"epochs": 200, "lr": 1e-4, "weight_decay": 2e-6} if published else {"epochs": 30, "lr": 2e-3}

    @classmethod
    def reference(cls, classifier: AudioClassifier, **options: Any) -> Self:
        """The published configuration; there the network is CNN14, and its layers blocks 3 to 6.

        Fit it on batches of 2. The published fidelity loss is a mean over the K classes, so its weight is 1 / K here.
        Unlike in the recipe, the learning rate falls along a cosine, and the dictionary is made at the clips' own rate.
        """
        explainer = super().reference(classifier, **options)
        if "lambda_fidelity" not in options:
            with explainer._untouched():
                explainer.lambda_fidelity = 1 / explainer._probe()[0]
        return explainer

    @property
    def threshold(self) -> float:
        """Least relevance of a component that is kept."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not 0 <= value < 1:
            raise ConfigError(f"threshold={value} must lie in [0, 1): relevance is at most 1; published: 0.2, 0.4")
        self._threshold = float(value)

    # Fitting ------------------------------------------------------------------------------------------------------

    def _build(self) -> nn.Module:
        n_classes, shapes = self._probe()
        if not self.published:
            psi: nn.Module = ActivationDecoder(shapes, self.components, self.width)
            pooling: nn.Module = AttentionPooling(self.components)
        else:
            psi = PublishedActivationDecoder([c for c, _ in shapes], self.components, width=self.width)
            five_seconds = torch.zeros(1, 5 * self.classifier.sample_rate, device=self.classifier.device)
            pooling = PositionPooling(self.space.analyse(five_seconds).values.shape[-1])
        return Interpreter(psi, pooling, self.space.rows, self.components, n_classes)

    def _prepare(self, decoder: nn.Module, loader: Any, options: TrainingOptions) -> None:
        if options.checkpoint is not None and Path(options.checkpoint).exists():
            return  # which holds the dictionary
        loader = [loader] if isinstance(loader, Tensor) else loader
        frames = self._frames(loader)
        if self.amortised_epochs:
            dictionary = self._amortised(loader, options)
        else:
            dictionary = nmf(frames, self.components, seed=options.seed).dictionary
        decoder.dictionary = dictionary

    def _frames(self, loader: Any) -> Tensor:
        """Audible frames (F, N') drawn from all clips; the same ones in whichever order and batches the clips come."""
        if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
            raise InputError(f"a loader is a list of batches or a DataLoader; got {type(loader).__name__}")
        if isinstance(loader, Iterator):
            raise InputError("L2I reads the loader twice, for the dictionary and to learn; pass a list or a DataLoader")
        keys, frames = torch.empty(0), torch.empty(0, self.space.rows)
        for batch in loader:
            waveform = self._read(batch)
            spectrogram = self._spectrogram(self.space.analyse(waveform)).cpu()
            draws = torch.cat(
                [torch.rand(spectrogram.shape[2], generator=g) for g in generators_of(waveform, self.seed)]
            )
            columns = spectrogram.transpose(1, 2).flatten(0, 1)
            audible = columns.amax(1) > _SILENT
            keys, frames = torch.cat([keys, draws[audible]]), torch.cat([frames, columns[audible]])
            first = keys.argsort(stable=True)[:_FRAMES]
            keys, frames = keys[first], frames[first]
        if not len(frames):
            raise InputError("the loader yields no audible frame to make a dictionary of; give clips with sound")
        if len(frames) < self.components:
            raise ConfigError(
                f"components={self.components} are more than the {len(frames)} audible frames of the clips; "
                "take fewer components or more clips"
            )
        return frames.T.contiguous().to(self.classifier.device)

    def _amortised(self, loader: Any, options: TrainingOptions) -> Tensor:
        model = AmortisedNMF(self.space.rows, self.components).to(self.classifier.device)
        options = replace(options, **_AMORTISED, epochs=self.amortised_epochs, checkpoint=None, patience=None)

        def step(batch: Any) -> dict[str, Tensor]:
            return {"loss": model.loss(self._spectrogram(self.space.analyse(self._read(batch)))).mean()}

        train(model, step, loader, options, name=f"{self.name} dictionary")
        return model.dictionary.detach()

    def _read(self, batch: Any) -> Tensor:
        return read_batch(batch, self.classifier.sample_rate).to(self.classifier.device)

    def _spectrogram(self, analysis: Analysis) -> Tensor:
        """What is factorised, on every scale: log(1 + magnitude), (B, F, N)."""
        return torch.log1p(self.space.magnitude(analysis))

    def training_step(self, waveform: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            analysis = self.space.analyse(waveform)
        logits, reading = self._listen(analysis)
        model = self._interpreter.dictionary @ reading.activations
        losses = {
            "nmf": (model - self._spectrogram(analysis)).square(),
            "sparsity": reading.activations,
            "fidelity": _cross_entropy(logits, reading.logits, self.classifier.multilabel),
        }
        return weigh(self, losses)

    def _listen(self, analysis: Analysis) -> tuple[Tensor, Reading]:
        """The classifier's logits, and what the interpreter reads from its latents."""
        with torch.no_grad():
            features = self.space.features(analysis.values, analysis)
            logits, latents = self.classifier.classify_with_latents(features)
            maps = self.classifier.as_maps(latents)
        return logits, self._interpreter(maps, analysis.values.shape[-1])

    @property
    def _interpreter(self) -> Interpreter:
        decoder = self.decoder
        assert isinstance(decoder, Interpreter)
        return decoder

    # Explaining ---------------------------------------------------------------------------------------------------

    @property
    def dictionary(self) -> Tensor:
        """The spectra of the components, (F, R) over the space's rows, as log(1 + magnitude).

        Raises:
            NotFittedError: before ``fit``.
        """
        return self._interpreter.dictionary

    def relevance(self, waveform: WaveformLike, target: TargetLike = None, *, sample_rate: int | None = None) -> Tensor:
        """Relevance of each component for the target, (B, R) in [-1, 1]; what is above ``threshold`` is kept.

        Args: as for :meth:`explain`.
        """
        clips = self._clips(waveform, sample_rate)
        whole, parts = parse_target(target, len(clips), self.classifier.labels), []
        with self._untouched(), torch.no_grad():
            for start in range(0, len(clips), self.max_batch):
                part = slice(start, start + self.max_batch)
                logits, reading = self._listen(self.space.analyse(clips[part]))
                resolved = whole.rows(part).resolve(logits, self.classifier.labels)
                parts.append(self._relevance(reading, resolved, logits))
        return torch.cat(parts)

    def _relevance(self, reading: Reading, target: Target, logits: Tensor) -> Tensor:
        """theta_c * z over the largest magnitude, with c the target: a class, or a weighting of the classes."""
        theta = self._interpreter.classes.weight
        if not self.classifier.multilabel and not self.published:
            theta = theta - theta.mean(0)
        found = (_class_weights(target, logits) @ theta) * reading.pooled
        return found / found.abs().amax(1, keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)

    def _masks(self, analysis: Analysis, targets: Sequence[Target]) -> list[Solution]:
        with torch.no_grad():
            logits, reading = self._listen(analysis)
            solutions = []
            for target in targets:
                resolved = target.resolve(logits, self.classifier.labels)
                kept = self._relevance(reading, resolved, logits) > self.threshold
                mask = soft_mask(self.dictionary, reading.activations, kept)
                solutions.append(Solution(mask, logits, resolved))
        return solutions


def _class_weights(target: Target, logits: Tensor) -> Tensor:
    """The gradient (B, K) of the target's score to the logits: one-hot for a class.

    Raises:
        TargetError: a callable that does not depend on the logits.
    """
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        score = target.score(leaf).sum()
        weights = torch.autograd.grad(score, leaf, allow_unused=True)[0] if score.requires_grad else None
    if weights is None or not weights.abs().amax(1).gt(0).all():
        raise TargetError(
            "the target's score has no gradient to the logits of at least one clip, so no component can be relevant "
            "for it; give classes, or a callable that changes with the logits"
        )
    return weights


def _cross_entropy(logits: Tensor, read: Tensor, multilabel: bool) -> Tensor:
    """From the classifier's probabilities to the interpreter's, in nats, (B,); for multi-label networks of each class,
    averaged."""
    if multilabel:
        return F.binary_cross_entropy_with_logits(read, logits.sigmoid(), reduction="none").mean(1)
    return -(logits.softmax(1) * read.log_softmax(1)).sum(1)
