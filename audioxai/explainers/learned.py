"""LearnedExplainer: what every explainer with a trained decoder shares.

A method writes ``_build`` (its decoder), ``training_step`` (its losses) and ``_masks``; fitting, resuming, saving and
the rest are inherited.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.latents import PROBE_SECONDS
from audioxai.classifiers.targets import Target
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import ClassifierError, ConfigError, InputError, NotFittedError, OutputError
from audioxai.explainers.base import Explainer, Solution
from audioxai.explainers.saved import CONFIG, FORMAT, WEIGHTS, SavedExplainer
from audioxai.masking.spaces import Analysis, Space
from audioxai.sound.inputs import read_batch
from audioxai.support.files import write_bytes
from audioxai.support.identity import describe
from audioxai.training.loop import History, TrainingOptions, train

__all__ = ["LearnedExplainer"]


class LearnedExplainer(Explainer):
    """Base of explainers that learn a decoder from a classifier's latents to a mask.

    Args:
        classifier: the wrapped network; it is frozen while fitting.
        **base: see :class:`Explainer`.

    Attributes:
        decoder_: the fitted network, or ``None`` before ``fit``.
        history_: one dict of losses per epoch.
    """

    #: Names of what fitting leaves behind beside the decoder, JSON types; saved as the constructor's options are.
    learnt: ClassVar[tuple[str, ...]] = ()
    #: Options that files of earlier versions lack, as they were then.
    _before: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, classifier: AudioClassifier, **base: Any) -> None:
        super().__init__(classifier, **base)
        self.decoder_: nn.Module | None = None
        self.history_: History = []
        self._schedule: dict[str, Any] = {}  # training options other than the usual ones

    # What a method writes -----------------------------------------------------------------------------------------

    @abstractmethod
    def _build(self) -> nn.Module:
        """A fresh decoder for this classifier and space."""

    @abstractmethod
    def training_step(self, waveform: Tensor) -> dict[str, Tensor]:
        """Losses of a batch of waveforms (B, T) on the classifier's device; ``"loss"`` is minimised."""

    @abstractmethod
    def _masks(self, analysis: Analysis, targets: Sequence[Target]) -> list[Solution]:
        """Masks of one batch for one or several targets."""

    def _prepare(self, decoder: nn.Module, loader: Any, options: TrainingOptions) -> None:
        """What a fresh decoder takes from the clips before the training, such as a dictionary; nothing by default."""

    def _map_shapes(self) -> list[tuple[int, int]]:
        """(C, F') of the classifier's maps, from silence of a length that the network takes."""
        return self._probe()[1]

    def _check_classes(self) -> None:
        """Refuse the softmax of a single output."""
        self._probe(maps=False)

    def _probe(self, *, maps: bool = True) -> tuple[int, list[tuple[int, int]]]:
        """The number of classes, and :meth:`_map_shapes` if wanted."""
        classifier, failure = self.classifier, None
        for seconds in PROBE_SECONDS:
            silence = torch.zeros(1, round(seconds * classifier.sample_rate), device=classifier.device)
            try:
                with self._untouched():
                    analysis = self.space.analyse(silence)
                    features = self.space.features(analysis.values, analysis)
                    names = classifier.layers if maps else ()
                    logits, latents = classifier.read_layers(names, features, cut=False)
            except (ClassifierError, InputError) as error:
                failure = error
                continue
            shares = not classifier.multilabel and not isinstance(classifier, ZeroShotClassifier)
            if logits.shape[1] == 1 and shares:
                raise ConfigError(
                    "the softmax of a single output is always 1, so that there is nothing to learn; if it is the "
                    "logit of one class, pass multilabel=True to AudioClassifier"
                )
            return logits.shape[1], [(m.shape[1], m.shape[2]) for m in (classifier.as_maps(latents) if maps else ())]
        assert failure is not None
        raise failure

    # What is shared -----------------------------------------------------------------------------------------------

    @property
    def decoder(self) -> nn.Module:
        """The fitted decoder.

        Raises:
            NotFittedError: before ``fit``.
        """
        if self.decoder_ is None:
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted; call .fit(loader) or load one with .from_pretrained(...)"
            )
        return self.decoder_

    def __sklearn_is_fitted__(self) -> bool:
        return self.decoder_ is not None

    def to(self, device: str | torch.device) -> Self:
        """Move classifier and decoder."""
        self.classifier.to(device)
        if self.decoder_ is not None:
            self.decoder_.to(device)
        return self

    def fit(
        self,
        loader: Iterable[Any] | None = None,
        *,
        val_loader: Iterable[Any] | None = None,
        **training: Any,
    ) -> Self:
        """Learn the decoder from clips; labels are ignored, since the classifier's own predictions are explained.

        Args:
            loader: re-iterable batches at the classifier's rate: tensors (B, T), (waveform, ...) tuples, or dicts
                with a ``"waveform"``.
            val_loader: batches whose loss drives early stopping, see ``patience``.
            **training: options of :class:`audioxai.training.loop.TrainingOptions`: ``epochs``, ``lr``, ``precision``,
                ``patience``, ``seed``, ``checkpoint``, ``progress`` ...

        Returns:
            self.

        Raises:
            InputError: the loader yields nothing, or what is no waveform.
            ConfigError: an option is unknown or out of range.
        """
        options = self._training_options(loader, **training)
        before = self.decoder_
        with self._untouched():
            torch.manual_seed(options.seed)
            self.decoder_ = self._build().to(self.classifier.device)
            try:
                self._prepare(self.decoder_, loader, options)
                self.history_ = self._learn(self._step, loader, options, val_loader=val_loader)
            except BaseException:
                self.decoder_ = before
                raise
        return self

    def _step(self, batch: Any) -> dict[str, Tensor]:
        """Losses of a batch of the loader."""
        return self.training_step(read_batch(batch, self.classifier.sample_rate).to(self.classifier.device))

    def _training_options(self, loader: Iterable[Any] | None, **training: Any) -> TrainingOptions:
        if loader is None:
            raise InputError(f"{type(self).__name__} learns from clips: call .fit(loader)")
        known = set(TrainingOptions.__dataclass_fields__)
        if unknown := set(training) - known:
            raise ConfigError(f"fitting has no option {sorted(unknown)}; known are {', '.join(sorted(known))}")
        return TrainingOptions(**{"seed": self.seed, **self._schedule, **training})

    def _learn(
        self,
        step: Callable[[Any], dict[str, Tensor]],
        loader: Any,
        options: TrainingOptions,
        *,
        val_loader: Iterable[Any] | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> History:
        """Train the decoder in place, and leave it frozen."""
        decoder = self.decoder
        decoder.requires_grad_(True)
        loader = [loader] if isinstance(loader, Tensor) else loader
        known = None if options.checkpoint is None else super().identity() | dict(identity or {})
        try:
            return train(decoder, step, loader, options, val_loader=val_loader, name=self.name, identity=known)
        finally:
            decoder.eval()
            decoder.requires_grad_(False)

    def _solve_all(self, analysis: Analysis, targets: Sequence[Target]) -> list[Solution]:
        self.decoder  # noqa: B018 (raises before any work when not fitted)
        return self._masks(analysis, targets)

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"decoder": describe(self.decoder_)}

    # Saving -------------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the decoder (safetensors) and its configuration (JSON); the classifier is not part of it.

        Raises:
            NotFittedError: before ``fit``.
            ConfigError: an option that JSON cannot hold.
            OutputError: the files could not be written.
        """
        from safetensors.torch import save

        folder = Path(folder)
        weights = save({k: v.detach().cpu().contiguous() for k, v in self.decoder.state_dict().items()})
        known = super().identity()
        config = {
            "format": FORMAT,
            "explainer": known.pop("method"),
            **known,
            "options": self._options(),
            "history": self.history_,
            "learnt": {name: getattr(self, name) for name in self.learnt},
            "schedule": self._schedule,
        }
        try:
            text = json.dumps(config, indent=2).encode()
        except TypeError as error:
            raise ConfigError(f"an option of this {type(self).__name__} cannot be saved as JSON: {error}") from error
        write_bytes(folder / WEIGHTS, weights)
        write_bytes(folder / CONFIG, text)
        return folder

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        classifier: AudioClassifier,
        space: str | Space | None = None,
        **base: Any,
    ) -> Self:
        """Load a decoder for the classifier that it was fitted on.

        Args:
            folder: written by :meth:`save_pretrained`.
            classifier: the same classifier, by its :meth:`~audioxai.AudioClassifier.fingerprint`.
            space: only if it was fitted in a space with settings of its own; default the saved one.
            **base: other options of :class:`Explainer`, such as ``max_batch``.

        Raises:
            OutputError: nothing is saved there, or it cannot be read.
            ConfigError: another explainer, or another classifier.
        """
        files = SavedExplainer.read(Path(folder), cls.__name__)
        files.check_classifier(classifier)
        saved = {"space": space or files.space["name"], "scale": files.space["scale"]} | {
            **cls._before,
            **files.options,
        }
        explainer = cls(classifier, **{**saved, **base})
        files.check_space(explainer.space)
        with explainer._untouched():
            explainer.decoder_ = explainer._build()
        try:
            explainer.decoder_.load_state_dict(files.weights)
        except RuntimeError as error:
            raise OutputError(f"{WEIGHTS} in {str(folder)!r} does not fit {CONFIG}: {error}") from error
        explainer.decoder_.to(classifier.device).eval().requires_grad_(False)
        explainer.history_ = files.config.get("history", [])
        explainer._schedule = files.config.get("schedule", explainer._schedule)
        for name in cls.learnt:
            setattr(explainer, name, files.config.get("learnt", {}).get(name, getattr(explainer, name)))
        return explainer
