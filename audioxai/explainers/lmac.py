"""L-MAC: a decoder reads a classifier's latents and draws the mask that keeps its decision.

Source: Paissan, Ravanelli, Subakan, "Listenable Maps for Audio Classifiers", ICML 2024. The published decoder sees the
latents h alone and so explains the predicted class. Here it may also see the evidence for any score s, so that the same
decoder follows any target: a class, several, or a callable. And the general decoder sees nothing but what every network
has, so that its shipped weights explain a network that it never met.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.latents import LatentLayer
from audioxai.classifiers.targets import Target
from audioxai.errors import ConfigError, NotFittedError, TargetError
from audioxai.explainers.base import Solution, at_least_one
from audioxai.explainers.evidence import Reading, mix_within_batch, read_evidence
from audioxai.explainers.finetuning import FineTuning, clean_and_noisy
from audioxai.explainers.general import load_general
from audioxai.explainers.learned import LearnedExplainer
from audioxai.explainers.planes import PLANES, band_weights, depths_of, read_planes
from audioxai.explainers.registry import register
from audioxai.masking.spaces import Analysis
from audioxai.nn.decoder import EvidenceDecoder
from audioxai.nn.general_decoder import GeneralDecoder
from audioxai.nn.published import PublishedDecoder
from audioxai.nn.sound_decoder import SoundDecoder
from audioxai.support.identity import describe
from audioxai.training.loss_weights import LossWeight, weigh
from audioxai.training.losses import mask_in, mask_out, similarity, sparsity, stem_guidance, target_log_probabilities

__all__ = ["LMAC"]

DecoderName = Literal["general", "evidence", "sound", "published"]
_GENERAL_WIDTH = 32  # of the shipped weights
_LACKS = {
    "values": "no evidence at the mask's own values, since no gradient reaches them: a front end outside torch",
    "depths": "no evidence inside the network, since none of its layers carries a map over time",
}


@register("lmac")
class LMAC(LearnedExplainer):
    """Listenable maps by a decoder.

    The loss per clip is ``lambda_in * L_in + lambda_out * L_out + lambda_s * mean(mask)``, and for self-made mixtures
    ``lambda_g`` times the energy kept of the other clip and lost of the explained one. A second stage,
    :meth:`finetune`, then trades some of it for sound quality.

    It explains without any fit, by weights of the general decoder that were fitted over many other networks; the
    explanation's ``method`` is then ``"L-MAC (general)"``. A fit goes on from them, by default for 4 passes.

    Args:
        classifier: the wrapped network.
        start: ``"general"``: the shipped weights of the general decoder, of width 32; ``None``, or another decoder or
            width: none, so that a fit begins from nothing, and comes first.
        evidence: feed the decoder latents and evidence, so that it follows a given target; ``False``: latents alone,
            as published, for the predicted class only and without a backward pass.
        lambda_in: weight of -log p(target) on what is kept.
        lambda_out: weight of the mask-out loss on what is removed.
        lambda_s: weight of the mean mask. The published 0.4, times its batch of 16, is 6.4 here.
        lambda_g: weight of the guidance by the stems of self-made mixtures.
        bounded: mask-out loss -log(1 - p) instead of the published log p.
        mixing: share of each batch that becomes mixtures of two clips predicted differently, one of them the target.
        decoder_name: ``"general"``: reads what every network has, see :func:`audioxai.explainers.planes.read_planes`;
            ``"evidence"``: reads the channels of one network, top-down; ``"sound"``: the same for networks whose maps
            are all coarse, see :class:`audioxai.nn.SoundDecoder`; ``"published"``: the transposed convolutions of the
            publication, which read four maps and no evidence. Default ``"general"``, without evidence ``"evidence"``.
        width: channels of the decoder; the published one has 2048, the shipped weights have 32.
        **base: see :class:`audioxai.explainers.base.Explainer`.

    Attributes:
        finetuned_: settings of the second stage, or ``None`` before it.

    Example:
        >>> mask, audio = LMAC(classifier).explain(waveform)
        >>> explainer = LMAC(classifier).fit(loader)
    """

    learnt: ClassVar[tuple[str, ...]] = ("finetuned_",)
    lambda_in, lambda_out, lambda_s = LossWeight("in"), LossWeight("out"), LossWeight("mask")
    lambda_g = LossWeight("guide")
    _before: ClassVar[Mapping[str, Any]] = {"decoder_name": "evidence"}
    _published: ClassVar[Mapping[str, Any]] = {
        "evidence": False, "lambda_out": 0.2, "lambda_s": 6.4, "bounded": False, "mixing": 0.0,
        "decoder_name": "published", "width": 2048,
    }  # fmt: skip

    def __init__(
        self,
        classifier: AudioClassifier,
        *,
        start: Literal["general"] | None = "general",
        evidence: bool = True,
        lambda_in: float = 4.0,
        lambda_out: float = 2.0,
        lambda_s: float = 2.0,
        lambda_g: float = 4.0,
        bounded: bool = True,
        mixing: float = 0.5,
        decoder_name: DecoderName | None = None,
        width: int = _GENERAL_WIDTH,
        **base: Any,
    ) -> None:
        super().__init__(classifier, **base)
        if not 0 <= mixing <= 1:
            raise ConfigError(f"mixing={mixing} must lie in [0, 1]")
        if decoder_name not in (None, *(names := get_args(DecoderName))):
            raise ConfigError(f"decoder_name={decoder_name!r} is not known; choose one of {', '.join(names)}")
        decoder_name = decoder_name or ("general" if evidence else "evidence")
        if decoder_name == "published" and evidence:
            raise ConfigError("the published decoder reads no evidence; pass evidence=False, or use LMAC.reference()")
        if decoder_name in ("general", "sound") and not evidence:
            raise ConfigError(
                f"the {decoder_name} decoder is steered by the evidence; pass evidence=True, or another decoder"
            )
        if start not in (None, "general"):
            raise ConfigError(f"start={start!r} is not known; pass 'general', or None to fit from nothing")
        self.evidence = evidence
        self.lambda_in = lambda_in
        self.lambda_out = lambda_out
        self.lambda_s = lambda_s
        self.lambda_g = lambda_g
        self.bounded = bounded
        self.mixing = mixing
        self.decoder_name: DecoderName = decoder_name
        self.width = at_least_one("width", width)
        self.start = start if decoder_name == "general" and self.width == _GENERAL_WIDTH else None
        self.finetuned_: dict[str, Any] | None = None
        self._general: nn.Module | None = None
        self._layers: tuple[LatentLayer, ...] | None = None
        if self.start:
            self._schedule = {"epochs": 4, "lr": 1e-3}

    @classmethod
    def reference(cls, classifier: AudioClassifier, **options: Any) -> Self:
        """The published decoder (237 M parameters, 288 M in mel space), losses, weights and schedule.

        Its ``fit`` takes 200 passes at a learning rate of 2e-4 unless told otherwise. The mask always has the input's
        size, where the release crops; see :class:`audioxai.nn.published.PublishedDecoder`.
        """
        explainer = super().reference(classifier, **options)
        explainer._schedule = {"epochs": 200, "lr": 2e-4, "weight_decay": 2e-6}
        return explainer

    @property
    def name(self) -> str:
        return "L-MAC (general)" if self.start and not self.history_ else super().name

    @property
    def any_target(self) -> bool:
        return self.evidence

    @property
    def decoder(self) -> nn.Module:
        """The fitted decoder, or before ``fit`` the general one with its shipped weights.

        Raises:
            NotFittedError: before ``fit``, if ``start=None``.
        """
        if self.decoder_ is not None or not self.start:
            return super().decoder
        if self._general is None:
            self._general = load_general()
        return self._general.to(self.classifier.device)

    def __sklearn_is_fitted__(self) -> bool:
        return self.decoder_ is not None or self.start is not None

    def identity(self) -> dict[str, Any]:
        return super().identity() | ({"decoder": describe(self.decoder)} if self.start else {})

    def _build(self) -> nn.Module:
        if self.decoder_name == "general":
            self._check_classes()
            return load_general().requires_grad_(True) if self.start else GeneralDecoder(PLANES, self.width)
        shapes = self._map_shapes()
        if self.decoder_name == "published":
            return PublishedDecoder([channels for channels, _ in shapes], self.space.name, width=self.width)
        if self.decoder_name == "sound":
            return SoundDecoder(shapes, grid=self.space.grid, width=self.width)
        return EvidenceDecoder(shapes, self.space.rows, grid=self.space.grid, width=self.width, evidence=self.evidence)

    def _masks(self, analysis: Analysis, targets: Sequence[Target]) -> list[Solution]:
        if not self.any_target and not all(target.predicted for target in targets):
            raise TargetError(
                "this LMAC was built with evidence=False and explains the predicted class only: target=None"
            )
        with torch.no_grad():
            logits, drawn = self._draw(analysis, targets)
            return [Solution(mask.sigmoid(), logits, target) for target, mask in drawn]

    def _draw(self, analysis: Analysis, targets: Sequence[Target]) -> tuple[Tensor, list[tuple[Target, Tensor]]]:
        """The clips' logits (B, K), and for each target the resolved target and the mask's logits."""
        if self.decoder_name == "general":
            if self._layers is None:
                self._layers = depths_of(self.classifier)
            logits, found = read_planes(self.classifier, self.space, analysis, targets, layers=self._layers)
            if missing := found[0].missing:
                warnings.warn(f"{self.name} sees {_LACKS[missing[0]]}; its masks are coarser for it", stacklevel=2)
            rows = band_weights(self.space, analysis.values.device)
            return logits, [(one.target, self.decoder(one.stack, analysis.values, rows)) for one in found]
        with torch.no_grad():
            features = self.space.features(analysis.values, analysis)
        logits, maps, read = self._read(features, targets)
        return logits, [(target, self.decoder(maps, evidence, analysis.values)) for target, evidence in read]

    def _read(self, features: Tensor, targets: Sequence[Target]) -> Reading:
        return read_evidence(self.classifier, features, targets, evidence=self.evidence)

    # First stage --------------------------------------------------------------------------------------------------

    def fit(
        self,
        loader: Iterable[Any] | None = None,
        *,
        val_loader: Iterable[Any] | None = None,
        finetune: bool | Mapping[str, Any] = False,
        **training: Any,
    ) -> Self:
        """Learn the decoder, see :meth:`LearnedExplainer.fit`.

        Args:
            loader: see there.
            val_loader: see there.
            finetune: go on with the second stage on the same clips; ``True``, or options of :meth:`finetune`.
            **training: see there; ``checkpoint`` serves both stages, and the second takes a quarter of the epochs
                unless told otherwise.
        """
        stage = {} if finetune is True else dict(finetune or {})
        known = {*FineTuning.__dataclass_fields__, "epochs"}
        if unknown := set(stage) - known:
            raise ConfigError(f"finetune has no option {sorted(unknown)}; known are {', '.join(sorted(known))}")
        FineTuning(**{name: value for name, value in stage.items() if name != "epochs"})
        super().fit(loader, val_loader=val_loader, **training)
        self.finetuned_ = None
        if finetune is not False:
            assert loader is not None
            options = {name: value for name, value in training.items() if name not in ("epochs", "patience")}
            if options.get("checkpoint") is not None:
                options["checkpoint"] = f"{options['checkpoint']}.finetune"
            epochs = max(1, len(self.history_) // 4)
            self.finetune(loader, **{"epochs": epochs, **options, **stage})
        return self

    def training_step(self, waveform: Tensor) -> dict[str, Tensor]:
        stem, other, target = mix_within_batch(self.classifier, waveform, self.mixing)
        with torch.no_grad():
            analysis = self.space.analyse(stem + other)
        _, [(target, drawn)] = self._draw(analysis, [target])
        mask = drawn.sigmoid()
        losses = self._losses(mask, analysis, target)
        if self.lambda_g and self.mixing:
            losses["guide"] = self._guidance(mask, analysis, stem, other)
        return weigh(self, losses)

    def _losses(self, mask: Tensor, analysis: Analysis, target: Target) -> dict[str, Tensor]:
        """The three losses of each clip, (B,); what is kept and removed goes through the network as one batch."""
        both = torch.cat([mask * analysis.values, (1 - mask) * analysis.values])
        logits_kept, logits_removed = self.space.predict(both, analysis.repeat(2)).chunk(2)
        classes, multilabel = target.classes, self.classifier.multilabel
        assert classes is not None
        kept, _ = target_log_probabilities(logits_kept, classes, multilabel)
        removed = target_log_probabilities(logits_removed, classes, multilabel)
        return {"in": mask_in(kept), "out": mask_out(*removed, bounded=self.bounded), "mask": sparsity(mask)}

    def _guidance(self, mask: Tensor, analysis: Analysis, stem: Tensor, other: Tensor) -> Tensor:
        """Energy kept of the added clips and lost of the explained ones, 0 where nothing was added. (B,)."""
        mixed = other.abs().amax(1) > 0
        rows = _rows_that_may(mixed)
        if not len(rows):
            return mask.new_zeros(len(stem))
        with torch.no_grad():
            power = [self.space.magnitude(self.space.analyse(part[rows])).square() for part in (stem, other)]
        kept_stem, kept_other = stem_guidance(self.space.gain(mask[rows], analysis.rows(rows)), power[0], power[1])
        costs = torch.where(mixed[rows], kept_other + 1 - kept_stem, 0.0)
        return mask.new_zeros(len(stem)).index_put((rows,), costs)

    # Second stage -------------------------------------------------------------------------------------------------

    def finetune(
        self,
        loader: Iterable[Any],
        *,
        lambda_g: float = 4.0,
        cth: float = 0.6,
        guidance: Literal["binary", "norm"] = "norm",
        epochs: int = 5,
        **training: Any,
    ) -> Self:
        """Second stage: draw what is kept towards the clean clip, where it is like it already.

        A clip is selected if the cosine between what the mask keeps of the noisy clip and the clean clip reaches
        ``cth``. Selected clips lose the sparsity term and gain ``lambda_g`` times the guidance. The explained class is
        the one predicted on the clean clip, or, without evidence, on the noisy one. ``history_`` goes on, with the
        ``"selected"`` share and the mean ``"cosine"``. Source: L-MAC recipe, stage 2.

        Args:
            loader: re-iterable batches: dicts with ``"clean"`` and ``"noisy"``, or pairs of waveforms (B, T); or clean
                clips alone, in any form that ``fit`` takes, which are then mixed with one another, 5 dB apart at most.
            lambda_g: weight of the guidance; 4 in the published tables, 16 in its listening study.
            cth: threshold of the cosine; 0.6 and 0.7 are published.
            guidance: ``"binary"``: cross-entropy of the mask against cells of the clean clip above 0.35 of its maximum,
                as released; ``"norm"``: squared distance to the clean clip, as in the published objective.
            epochs: passes over the loader.
            **training: other options of :class:`audioxai.training.loop.TrainingOptions`.

        Returns:
            self.

        Raises:
            NotFittedError: before the first stage.
            InputError: a batch is neither; clean and noisy clips differ in shape.
            ConfigError: an option is unknown or out of range.

        Warns:
            if no clip was ever selected, with the cosines that were seen.
        """
        if self.decoder_ is None:
            raise NotFittedError(
                "fine-tuning is the second stage: call .fit(loader) first, or .fit(..., finetune=True)"
            )
        stage = FineTuning(lambda_g, cth, guidance)
        options = self._training_options(loader, epochs=epochs, **training)
        seen: list[Tensor] = []

        def step(batch: Any) -> dict[str, Tensor]:
            clean, noisy = clean_and_noisy(batch, self.classifier)
            losses = self._finetuning_step(clean, noisy, stage)
            seen.append(losses.pop("cosines"))
            return losses

        before = {name: value.clone() for name, value in self.decoder_.state_dict().items()}
        start = {"stage": 2, **asdict(stage), "history": self.history_}
        with self._untouched():
            try:
                history = self._learn(step, loader, options, identity=start)
            except BaseException:
                self.decoder_.load_state_dict(before)
                raise
        cosines = torch.cat(seen) if seen else torch.ones(1)  # none if a checkpoint was complete already
        if not (cosines >= cth).any():
            warnings.warn(
                f"no clip was selected: cosines to the clean clips were {cosines.min():.2f} to {cosines.max():.2f}, "
                f"median {cosines.median():.2f}, and cth={cth}; lower it, or fit the first stage longer",
                stacklevel=2,
            )
        self.history_ = [*self.history_, *history]
        self.finetuned_ = {**asdict(stage), "epochs": options.epochs}
        return self

    def _finetuning_step(self, clean: Tensor, noisy: Tensor, stage: FineTuning) -> dict[str, Tensor]:
        target = Target(predicted=True)
        if self.evidence:
            with torch.no_grad():
                target = Target(classes=self.classifier(clean).argmax(1))
        with torch.no_grad():
            analysis = self.space.analyse(noisy)
        _, [(target, drawn)] = self._draw(analysis, [target])
        mask = drawn.sigmoid()
        with torch.no_grad():
            amplitude = self.space.magnitude(self.space.analyse(clean))
        kept = self.space.magnitude(replace(analysis, values=mask * analysis.values))
        losses = self._losses(mask, analysis, target)
        cosines = similarity(kept.detach(), amplitude)
        selected = (cosines >= stage.cth).to(mask)
        losses["mask"] = losses["mask"] * (1 - selected)
        guide = selected * stage.distance(drawn, kept, amplitude)
        found = weigh(self, losses)
        return {
            **found,
            "loss": found["loss"] + stage.lambda_g * guide.mean(),
            "guide": guide.mean(),
            "selected": selected.mean(),
            "cosine": cosines.mean(),
            "cosines": cosines,
        }


def _rows_that_may(hold: Tensor) -> Tensor:
    """Rows where a condition (B,) may hold: all on a GPU, which would have to be waited for to know."""
    return hold.nonzero()[:, 0] if hold.device.type == "cpu" else torch.arange(len(hold), device=hold.device)
