"""Explainer: the one interface, and everything that is the same for every method.

A training-free method writes ``_attribute(values, score)``; a method that yields masks itself writes ``_solve``.
Targets, spaces, batching, sound and the caller's network as it was are inherited.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.targets import Target, TargetLike, parse_target
from audioxai.errors import ClassifierError, ConfigError, InputError, nearest
from audioxai.explainers.batch_result import Solution, join
from audioxai.explainers.explanation import Explanation, Scores
from audioxai.explainers.target_score import Score, check_logits
from audioxai.masking.attribution_to_mask import Normalise, to_mask
from audioxai.masking.spaces import Analysis, Scale, Space, make_space
from audioxai.sound.inputs import WaveformLike, as_waveform
from audioxai.support.identity import describe, option_names, options_of
from audioxai.support.options import at_least_one, whole_number

__all__ = ["Explainer", "Score", "Solution"]

# Told by the space, or of no effect but rounding, as audioxai.testing checks: a run may go on with another max_batch.
_APART = ("space", "scale", "max_batch", "progress")


class Explainer:
    """Base of all explainers.

    Args:
        classifier: the wrapped network.
        space: where the mask lives: ``"stft"``, ``"mel"``, ``"waveform"`` or a :class:`audioxai.masking.spaces.Space`.
        scale: what the mask multiplies, ``"log1p"`` or ``"magnitude"``; ignored when ``space`` is an object.
        max_batch: most rows in one forward pass, which bounds the memory; results do not depend on it.
        normalise: how attributions become masks, see :func:`audioxai.masking.attribution_to_mask.to_mask`.
        seed: of the methods that draw at random; the draw for a clip depends on it and on the clip alone.
        heard: ask for the scores of the sounds, phase and all, in place of those of the masked values.
    """

    spaces: ClassVar[tuple[str, ...]] = ("stft", "mel", "waveform")
    _published: ClassVar[Mapping[str, Any] | None] = None

    def __init__(
        self,
        classifier: AudioClassifier,
        *,
        space: str | Space = "stft",
        scale: Scale = "log1p",
        max_batch: int = 16,
        normalise: Normalise = "relu_percentile",
        seed: int = 0,
        heard: bool = False,
        **unknown: Any,
    ) -> None:
        if unknown:
            name, known = next(iter(unknown)), option_names(type(self))
            raise ConfigError(f"{type(self).__name__} has no option {name!r}; the nearest are {nearest(name, known)}")
        if not isinstance(classifier, AudioClassifier):
            raise ConfigError(
                f"an explainer takes an AudioClassifier; got {type(classifier).__name__}. "
                "Wrap the network: AudioClassifier(network, sample_rate=..., frontend=...)"
            )
        self.classifier = classifier
        self.space = make_space(space, classifier, scale)
        if self.space.name not in self.spaces:
            raise ConfigError(
                f"{type(self).__name__} has no meaning in the {self.space.name!r} space; choose from {self.spaces}"
            )
        self.max_batch = at_least_one("max_batch", max_batch)
        to_mask(torch.zeros(1, 1), normalise)  # refuses an unknown way now rather than after the work
        self.normalise: Normalise = normalise
        self.seed = whole_number("seed", seed)
        self.heard = heard

    @property
    def name(self) -> str:
        """The method's name in results and tables."""
        return type(self).__name__

    @property
    def any_target(self) -> bool:
        """Whether targets may be given; otherwise the predicted class alone is explained."""
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}(space={self.space!r})"

    def identity(self) -> dict[str, Any]:
        """All that its explanations depend on, as JSON types: method, classifier, space, options, and what was learnt.

        The same before and after a call, and in every process. Modules count by their types, settings and weights,
        functions by their source and the values that they reach; attributes that are no options do not count. A method
        that learns adds what it has learnt.

        Raises:
            ConfigError: an option of the constructor that is no attribute.
        """
        return {
            "method": type(self).__name__,
            "classifier": self.classifier.identity(),
            "space": self.space.identity(),
            "options": describe(self._options()),
        }

    def _options(self) -> dict[str, Any]:
        """The constructor's options that decide results, by name, without those of the space."""
        return options_of(self, left_out=_APART)

    @classmethod
    def reference(cls, classifier: AudioClassifier, **options: Any) -> Self:
        """The setting behind the published tables, with its quirks, so that they can be rebuilt.

        Its mask is |A| / max |A| over values on the ``"log1p"`` scale, for every method. Source: the L-MAC recipe.

        Raises:
            ConfigError: the method is in no published table.
        """
        if cls._published is None:
            raise ConfigError(f"{cls.__name__} is in no published table; build it with {cls.__name__}(classifier)")
        return cls(classifier, **{"scale": "log1p", "normalise": "max", **cls._published, **options})

    # What a method may override -----------------------------------------------------------------------------------

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        """Signed attribution (B, ...) of ``score`` to ``values`` (B, ...): what a training-free method writes."""
        raise NotImplementedError(f"{type(self).__name__} must write _attribute or _solve")

    def _solve(self, analysis: Analysis, target: Target) -> Solution:
        """Masks for one batch, in evaluation mode and without parameter gradients: the other extension point."""
        score = Score(self.space, analysis, target, max_batch=self.max_batch, seed=self.seed)
        attribution = self._attribute(analysis.values, score).detach()
        if not torch.isfinite(attribution).all():
            raise ClassifierError(
                f"{self.name} found NaN or infinite attributions: the network's gradient or scores are not finite; "
                "look for square roots or logarithms of zero in it"
            )
        return Solution(to_mask(attribution, self.normalise), score.logits, score.target, attribution)

    def _begin(self) -> None:
        """Forget what was noted of the last call."""

    def _solve_all(self, analysis: Analysis, targets: Sequence[Target]) -> list[Solution]:
        """Several targets of the same clips; a method that can share work between them overrides this."""
        return [self._solve(analysis, target) for target in targets]

    # What a caller uses -------------------------------------------------------------------------------------------

    def fit(self, loader: Iterable[Any] | None = None, **options: Any) -> Self:
        """Nothing to learn: returns self, so that all explainers are interchangeable."""
        return self

    def explain(
        self,
        waveform: WaveformLike,
        target: TargetLike = None,
        *,
        sample_rate: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Explanation:
        """Explain one clip or a batch.

        Args:
            waveform: (T,), (B, T) or (B, 1, T) floats in [-1, 1], or the path of an audio file.
            target: what to explain, see :mod:`audioxai.classifiers.targets`; default the predicted class of each clip.
            sample_rate: rate of a tensor in Hz if it is not the classifier's; it is then resampled.
            names: one name per clip, for pictures and pages; default the file's name.

        Returns:
            The explanation; ``mask, audio = explainer.explain(waveform)`` works too.

        Raises:
            InputError, AudioFileError, TargetError, ClassifierError: see these; each names the fix.
        """
        return self.explain_all(waveform, [target], sample_rate=sample_rate, names=names)[0]

    def explain_all(
        self,
        waveform: WaveformLike,
        targets: Iterable[TargetLike],
        *,
        sample_rate: int | None = None,
        names: Sequence[str] | None = None,
    ) -> list[Explanation]:
        """One explanation per target of the same clip or batch, from one forward pass where the method allows.

        Args: as for :meth:`explain`, with several targets.
        """
        with self.classifier.turn():
            return self._explain(waveform, list(targets), sample_rate, names)

    def attribute(self, waveform: WaveformLike, target: TargetLike = None, *, sample_rate: int | None = None) -> Tensor:
        """The signed attribution, shaped like the space's values; for methods that yield masks, the mask.

        Args: as for :meth:`explain`.
        """
        clips = self._clips(waveform, sample_rate)
        with self.classifier.turn():
            self._begin()
            with self.bound_to(self.classifier.for_targets([target])) as bound:
                _, solutions = bound._find(clips, [target])
        return torch.cat([one.mask if one.attribution is None else one.attribution for (one,) in solutions])

    def target_of(self, clips: Tensor, target: TargetLike) -> TargetLike:
        """The target given, or the classes (B,) predicted now, which stay the target when clips or network change.

        An explainer of the predicted class alone explains that of each clip and network: ``None``.
        """
        return self.logits(clips).argmax(1) if target is None and self.any_target else target

    def logits(self, waveform: WaveformLike, *, sample_rate: int | None = None) -> Tensor:
        """The classifier's logits (B, K) for clips, in evaluation mode, ``max_batch`` of them in a pass.

        Args: as for :meth:`explain`.
        """
        clips = self._clips(waveform, sample_rate)
        with self._untouched(), torch.no_grad():
            return torch.cat([self.classifier(part) for part in torch.split(clips, self.max_batch)])

    # Inside -------------------------------------------------------------------------------------------------------

    @contextmanager
    def bound_to(self, view: AudioClassifier) -> Iterator[Self]:
        """This explainer on a view of its classifier, as a copy that shares all; what it notes inside is noted here."""
        if view is self.classifier:
            yield self
            return
        bound = copy.copy(self)
        bound.classifier, bound.space = view, self.space.bind(view)
        before = dict(vars(bound))
        try:
            yield bound
        finally:
            vars(self).update((k, v) for k, v in vars(bound).items() if k not in before or before[k] is not v)

    def _explain(
        self,
        waveform: WaveformLike,
        targets: Sequence[TargetLike],
        sample_rate: int | None,
        names: Sequence[str] | None,
    ) -> list[Explanation]:
        clips = self._clips(waveform, sample_rate)
        if names is None and isinstance(waveform, str | os.PathLike):
            names = [os.path.basename(waveform)]
        if names is not None and len(names) != len(clips):
            raise InputError(f"{len(names)} names were given for {len(clips)} clip(s)")
        self._begin()
        plain = self.classifier.for_targets([])
        asked = plain.for_targets(targets)  # those with prompts of their own share a pass, and see only these after it
        views = [plain.for_targets([target]) for target in targets]
        made: dict[int, Explanation] = {}
        for view in dict.fromkeys((plain, asked)):
            places = [p for p, own in enumerate(views) if (own is plain) == (view is plain)]
            if not places:
                continue
            with self.bound_to(view) as bound:
                analyses, solutions = bound._find(clips, [targets[p] for p in places])
            for p, found in zip(places, zip(*solutions, strict=True), strict=True):
                parts = [solution.among(view.labels, views[p].labels) for solution in found]
                made[p] = self._pack(clips, parts, analyses, names, views[p])
        return [made[p] for p in range(len(targets))]

    def _clips(self, waveform: WaveformLike, sample_rate: int | None) -> Tensor:
        return as_waveform(waveform, self.classifier.sample_rate, sample_rate).to(self.classifier.device)

    def _find(self, clips: Tensor, targets: Sequence[TargetLike]) -> tuple[list[Analysis], list[list[Solution]]]:
        """Per part of at most ``max_batch`` clips its analysis and one solution per target."""
        parsed = [parse_target(target, len(clips), self.classifier.labels) for target in targets]
        solutions: list[list[Solution]] = []
        analyses: list[Analysis] = []
        with self._untouched():
            for start in range(0, len(clips), self.max_batch):
                part = slice(start, start + self.max_batch)
                analysis = self.space.analyse(clips[part])
                found = self._solve_all(analysis, [target.rows(part) for target in parsed])
                for solution in found:
                    if solution.logits is not None:
                        check_logits(solution.logits)
                    if not torch.isfinite(solution.mask).all():
                        raise ClassifierError(
                            f"{self.name} found NaN in a mask: a gradient or latent of the network is not finite; in "
                            "half precision use bfloat16 or float32"
                        )
                if self.heard:
                    found = [solution.heard(self.space, analysis) for solution in found]
                solutions.append(found)
                analyses.append(analysis)
        return analyses, solutions

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """The caller's network and random state as they were, after an exception too; gradients on, whoever calls."""
        device = self.classifier.device
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            self.classifier.frozen(),
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        ):
            yield

    def _pack(
        self,
        clips: Tensor,
        solutions: list[Solution],
        analyses: list[Analysis],
        names: Sequence[str] | None,
        classifier: AudioClassifier,
    ) -> Explanation:
        space = self.space.bind(classifier)
        target = join([s.target for s in solutions])
        attributions = [s.attribution for s in solutions if s.attribution is not None]

        def sound(which: int) -> Tensor:
            with torch.no_grad():
                return torch.cat([s.sound(which, space, a) for s, a in zip(solutions, analyses, strict=True)])

        stamp = classifier.stamp()

        def scores() -> Scores:
            rows = []
            with self._untouched(), torch.no_grad():
                if classifier.stamp() != stamp:
                    raise ClassifierError(
                        "the network's weights have changed since this explanation was made, and its scores would mix "
                        "both states; ask for .scores before the change, or explain again"
                    )
                for s, a in zip(solutions, analyses, strict=True):
                    given = space.predict(a.values, a) if s.logits is None else s.logits
                    kept, removed = (s.predict(which, space, a) for which in (0, 1))
                    rows.append([classifier.probabilities(logits) for logits in (given, kept, removed)])
            return Scores(*(torch.cat(column) for column in zip(*rows, strict=True)))

        return Explanation(
            mask=torch.cat([s.mask for s in solutions]),
            waveform=sound(0),
            input=clips,
            target=target.classes,
            target_names=target.names(classifier.labels, len(clips)),
            labels=classifier.labels,
            method=self.name,
            space=space.name,
            scale=space.scale,
            normalise=self.normalise if attributions else "none",
            sample_rate=classifier.sample_rate,
            approximate=space.approximate,
            stft=getattr(space, "stft", None),
            attribution=torch.cat(attributions) if attributions else None,
            multilabel=classifier.multilabel,
            synthesised=any(s.sounds is not None for s in solutions),
            names=list(names) if names is not None else [],
            _removed=lambda: sound(1),
            _scores=scores,
        )
