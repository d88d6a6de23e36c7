"""LMAC-TD: the explanation is synthesised in the time domain, in place of masking a spectrogram.

Source: Mancini, Paissan, Ravanelli, Subakan, "LMAC-TD: Producing Time Domain Explanations for Audio Classifiers",
ICASSP 2025. The published mask network sees latents h alone; here it may also see the evidence h * ds/dh of any score
s, and so follows any target.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.targets import Target
from audioxai.errors import ConfigError, TargetError
from audioxai.explainers.base import Solution, at_least_one
from audioxai.explainers.evidence import Reading, mix_within_batch, read_evidence
from audioxai.explainers.learned import LearnedExplainer
from audioxai.explainers.registry import register
from audioxai.masking.spaces import Analysis, Scale, STFTSpace
from audioxai.nn.filterbank import Filterbank, default_filterbank, make_filterbank
from audioxai.nn.separator import MASKERS, Separator
from audioxai.sound.inputs import read_batch
from audioxai.training.filterbank import fit_filterbank
from audioxai.training.loop import TrainingOptions
from audioxai.training.loss_weights import LossWeight, weigh
from audioxai.training.losses import mask_in, mask_out, si_snr, sparsity, stem_distance, target_log_probabilities

__all__ = ["LMACTD"]

_SILENT = 1e-4  # magnitude of a cell; 16-bit files resolve no less
_FAITHFUL_DB = 10.0  # SI-SNR of decoded coefficients below which kept and removed no longer stand for the input


@register("lmac-td")
class LMACTD(LearnedExplainer):
    """Listenable explanations in the time domain.

    A filter bank encodes the clip, a mask network weighs the coefficients, and decoding gives the sounds of what is
    kept and of what is removed. ``space`` only says in which picture the result is shown and measured: the mask there
    is the ratio of the kept sound's values to the clip's.

    The loss per clip is ``lambda_in * L_in + lambda_out * L_out + lambda_s * size``, for self-made mixtures
    ``lambda_g`` times the log distance of both sounds from the two parts, and ``lambda_rec`` times -SI-SNR of their sum
    to the clip where the filter bank is trained too.

    Args:
        classifier: the wrapped network.
        alpha: share of the latents in what the mask network sees, in [0, 1]; the rest is the sound. 0 knows nothing of
            the classifier but its losses and is a control: it explains the predicted class only.
        evidence: give the mask network latents and evidence, so that it follows a given target; ``False``: latents
            alone, as published, for the predicted class only and without a backward pass.
        filterbank: ``"fourier"``: perfect reconstruction, so that kept + removed = input; ``"learned"``: learned
            filters, first fitted as an auto-encoder; or a :class:`audioxai.nn.Filterbank`, taken as it is.
        masker: mask network, ``"tcn"`` (light) or ``"dual_path"`` (SepFormer).
        masker_options: of the mask network, see :class:`audioxai.nn.TCN` and :class:`audioxai.nn.DualPath`.
        channels: D of the mask network.
        lambda_in: weight of -log p(target) on what is kept.
        lambda_out: weight of the mask-out loss on what is removed.
        lambda_s: weight of the size.
        lambda_g: weight of the guidance by the parts of self-made mixtures.
        lambda_rec: weight of the reconstruction, for ``train_filterbank=True``.
        bounded: mask-out loss -log(1 - p) instead of the published log p.
        size: ``"mask"``: mean of the mask; ``"energy"``: energy kept over the clip's; ``"log"``: mean of
            log(1 + magnitude) of what is kept, as published, which a quieter clip lowers too.
        mixing: share of each batch that becomes mixtures of two clips predicted differently, one of them the target.
        pretrain_epochs: passes that fit a ``"learned"`` filter bank before it is frozen.
        train_filterbank: go on fitting a learned filter bank with the rest.
        scale: of the picture, see :class:`audioxai.explainers.base.Explainer`.
        **base: see :class:`audioxai.explainers.base.Explainer`.

    Raises:
        ConfigError: an option out of range, or a filter bank made for another rate.

    Example:
        >>> explainer = LMACTD(classifier).fit(loader)
        >>> mask, audio = explainer.explain(waveform)
    """

    spaces: ClassVar[tuple[str, ...]] = ("stft", "mel")
    lambda_in, lambda_out, lambda_s = LossWeight("in"), LossWeight("out"), LossWeight("size")
    lambda_g, lambda_rec = LossWeight("guide"), LossWeight("reconstruction")
    _published: ClassVar[Mapping[str, Any]] = {
        "evidence": False, "masker": "dual_path", "channels": 256, "lambda_out": 0.2, "lambda_s": 0.4, "bounded": False,
        "size": "log", "mixing": 0.0, "scale": "magnitude",
        "masker_options": {"blocks": 2, "intra_layers": 8, "inter_layers": 2, "heads": 8, "hidden": 256, "chunk": 250},
    }  # fmt: skip

    def __init__(
        self,
        classifier: AudioClassifier,
        *,
        alpha: float = 0.75,
        evidence: bool = True,
        filterbank: str | Filterbank | Mapping[str, Any] = "fourier",
        masker: str = "tcn",
        masker_options: Mapping[str, Any] | None = None,
        channels: int = 128,
        lambda_in: float = 4.0,
        lambda_out: float = 2.0,
        lambda_s: float = 2.0,
        lambda_g: float = 2.0,
        lambda_rec: float = 0.1,
        bounded: bool = True,
        size: Literal["mask", "energy", "log"] = "mask",
        mixing: float = 0.75,
        pretrain_epochs: int = 5,
        train_filterbank: bool = False,
        scale: Scale = "magnitude",
        **base: Any,
    ) -> None:
        super().__init__(classifier, scale=scale, **base)
        for name, share in (("alpha", alpha), ("mixing", mixing)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name}={share} must lie in [0, 1]")
        for name, choice, known in (("masker", masker, tuple(MASKERS)), ("size", size, tuple(_SIZES))):
            if choice not in known:
                raise ConfigError(f"{name}={choice!r} is not known; choose one of {', '.join(map(repr, known))}")
        self._given = filterbank if isinstance(filterbank, Filterbank) else None
        bank = self._given or self._make_bank(filterbank)
        if bank.sample_rate != classifier.sample_rate:
            raise ConfigError(
                f"the filter bank was made for {bank.sample_rate} Hz, the classifier takes "
                f"{classifier.sample_rate} Hz; pass one for that rate, or filterbank='learned' to fit one"
            )
        self.alpha = float(alpha)
        self.evidence = evidence
        self.filterbank = bank.config()
        self.masker = masker
        self.masker_options = dict(masker_options or {})
        self.channels = at_least_one("channels", channels)
        self.lambda_in = lambda_in
        self.lambda_out = lambda_out
        self.lambda_s = lambda_s
        self.lambda_g = lambda_g
        self.lambda_rec = lambda_rec
        self.bounded = bounded
        self.size = size
        self.mixing = mixing
        self.pretrain_epochs = at_least_one("pretrain_epochs", pretrain_epochs)
        self.train_filterbank = train_filterbank

    @classmethod
    def reference(cls, classifier: AudioClassifier, **options: Any) -> Self:
        """Close to the published configuration: 256 learned filters of 1 ms, SepFormer, latents alone, its losses.

        Its ``fit`` takes 200 passes at a learning rate of 2e-4 unless told otherwise; fit it on batches of 2. Of the
        released settings that differ, these are the first ones, with the alpha that the paper found best. Mended: the
        conditioner is interpolated to the clip's frames, not cropped, so that it does not lag and takes any length;
        it is light, where the release has 139 M parameters; the front end is the classifier's; both parts are
        normalised before they are mixed; and the filter bank is fitted as an auto-encoder and frozen, so that what is
        kept is a part of the input. The learning rate falls along a cosine.
        """
        rate = classifier.sample_rate
        bank = {"kind": "learned", "sample_rate": rate, "kernel": 2 * max(1, round(rate / 2000)), "filters": 256}
        explainer = super().reference(classifier, **{"filterbank": bank, **options})
        explainer._schedule = {"epochs": 200, "lr": 2e-4, "weight_decay": 2e-6, "clip_norm": 5.0}
        return explainer

    def _make_bank(self, filterbank: Any) -> Filterbank:
        if isinstance(filterbank, Mapping):
            return make_filterbank(filterbank)
        return default_filterbank(filterbank, self.classifier.sample_rate)

    # Fitting ------------------------------------------------------------------------------------------------------

    def _build(self) -> Separator:
        bank, grid, shapes = make_filterbank(self.filterbank), None, []
        if self.alpha > 0:
            shapes = self._map_shapes()
            bins = STFTSpace(self.classifier)
            own = torch.eye(bins.rows) if bins.grid is None else bins.grid.cpu()
            nearest = bank.frequencies / bank.sample_rate * 2 * (bins.rows - 1)
            grid = own[:, nearest.round().long()]
        return Separator(
            bank,
            shapes,
            grid=grid,
            alpha=self.alpha,
            evidence=self.evidence,
            channels=self.channels,
            masker=self.masker,
            options=self.masker_options,
            train_bank=self.train_filterbank,
        )

    @property
    def separator(self) -> Separator:
        """The fitted network. Raises NotFittedError before ``fit``."""
        decoder = self.decoder
        assert isinstance(decoder, Separator)
        return decoder

    def _prepare(self, decoder: nn.Module, loader: Any, options: TrainingOptions) -> None:
        """A given filter bank is copied, a learned one fitted, and either must give back what it was given."""
        assert isinstance(decoder, Separator)
        bank, rate, device = decoder.bank, self.classifier.sample_rate, self.classifier.device
        if self._given is not None:
            bank.load_state_dict(self._given.state_dict())
        elif not bank.exact:
            checkpoint = None if options.checkpoint is None else f"{os.fspath(options.checkpoint)}.filterbank"
            stage = TrainingOptions(
                self.pretrain_epochs, precision=options.precision, seed=options.seed, checkpoint=checkpoint,
                progress=options.progress,
            )  # fmt: skip
            fit_filterbank(bank, loader, stage)
        if not bank.exact and not self.train_filterbank:
            clips = read_batch(loader if isinstance(loader, Tensor) else next(iter(loader)), rate).to(device)
            with torch.no_grad():
                found = float(si_snr(bank.decode(bank.encode(clips), clips.shape[1]), clips).median())
            if found < _FAITHFUL_DB:
                warnings.warn(
                    f"the filter bank gives clips back at an SI-SNR of {found:.1f} dB only, so kept + removed is not "
                    "the input; fit it longer (pretrain_epochs=), or use filterbank='fourier'",
                    stacklevel=2,
                )

    def training_step(self, waveform: Tensor) -> dict[str, Tensor]:
        stem, other, target = mix_within_batch(self.classifier, waveform, self.mixing)
        clip = stem + other
        _, maps, [(target, evidence)] = self._read(clip, [target])
        coefficients = self._encode(clip)
        mask = self.separator(coefficients, maps, evidence)
        kept, removed = self.separator.split(mask, coefficients, clip)
        classes, multilabel = target.classes, self.classifier.multilabel
        assert classes is not None
        logits_kept, logits_removed = self.classifier(torch.cat([kept, removed])).chunk(2)
        log_p, _ = target_log_probabilities(logits_kept, classes, multilabel)
        log_p_removed = target_log_probabilities(logits_removed, classes, multilabel)
        losses = {
            "in": mask_in(log_p),
            "out": mask_out(*log_p_removed, bounded=self.bounded),
            "size": _SIZES[self.size](mask, kept, clip, self),
        }
        if self.lambda_g and self.mixing:
            mixed = other.abs().amax(1) > 0
            losses["guide"] = torch.where(mixed, stem_distance(kept, removed, stem, other), 0.0)
        if self.train_filterbank and not self.separator.bank.exact:
            losses["reconstruction"] = -si_snr(kept + removed, clip)
        return weigh(self, losses)

    # Explaining ---------------------------------------------------------------------------------------------------

    @property
    def any_target(self) -> bool:
        return self.evidence and self.alpha != 0

    def _masks(self, analysis: Analysis, targets: Sequence[Target]) -> list[Solution]:
        if not self.any_target and not all(target.predicted for target in targets):
            why = "alpha=0" if self.alpha == 0 else "evidence=False"
            raise TargetError(f"this LMACTD was built with {why} and explains the predicted class only: target=None")
        logits, maps, read = self._read(analysis.waveform, targets)
        with torch.no_grad():
            coefficients = self._encode(analysis.waveform)
            solutions = []
            for target, evidence in read:
                mask = self.separator(coefficients, maps, evidence)
                sounds = self.separator.split(mask, coefficients, analysis.waveform)
                solutions.append(Solution(self._picture(sounds[0], analysis), logits, target, sounds=sounds))
        return solutions

    def _picture(self, kept: Tensor, analysis: Analysis) -> Tensor:
        """The mask that makes the clip's values as large as those of what is kept; 0 where the clip is silent."""
        values = self.space.analyse(kept).values
        audible = self.space.magnitude(analysis) > _SILENT
        return torch.where(audible, values / analysis.values.clamp(min=1e-12), 0.0).clamp(0, 1)

    def _read(self, waveform: Tensor, targets: Sequence[Target]) -> Reading:
        classifier = self.classifier
        with torch.no_grad():
            features = classifier.features(waveform)
            if self.alpha == 0:
                logits = classifier.classify(features)
                return logits, [], [(target.resolve(logits, classifier.labels), None) for target in targets]
        return read_evidence(classifier, features, targets, evidence=self.evidence)

    def _encode(self, waveform: Tensor) -> Tensor:
        return self.separator.bank.encode(waveform)


def _mean_mask(mask: Tensor, _kept: Tensor, _clip: Tensor, _explainer: LMACTD) -> Tensor:
    return sparsity(mask)


def _energy_share(_mask: Tensor, kept: Tensor, clip: Tensor, _explainer: LMACTD) -> Tensor:
    return kept.square().sum(1) / clip.square().sum(1).clamp(min=1e-8)


def _log_spectrum(_mask: Tensor, kept: Tensor, _clip: Tensor, explainer: LMACTD) -> Tensor:
    return torch.log1p(explainer.space.magnitude(explainer.space.analyse(kept))).flatten(1).mean(1)


_SIZES = {"mask": _mean_mask, "energy": _energy_share, "log": _log_spectrum}
