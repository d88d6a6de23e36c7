"""CLAP of Hugging Face's transformers as a zero-shot classifier, differentiable from the waveform on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.adapters.check import check_wrapped
from audioxai.adapters.htsat import HTSAT
from audioxai.adapters.transformers import extract, load_from_hub, tokenise
from audioxai.adapters.windows import WindowedLogMel, Windows
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import ClassifierError, ConfigError
from audioxai.sound.dsp import STFT

__all__ = ["ClapFrontend", "ClapText", "from_clap"]


class ClapFrontend(WindowedLogMel):
    """What a ``ClapFeatureExtractor`` computes, to 1e-4 dB, without its random draws.

    Clips longer than a window get several windows. For fused models they stay whole: the log-mel of all, shrunk to one
    window, and three windows of it, from the middle of its first, second and last third; (B, 4, N + 1, M).

    Args:
        extractor: a ``ClapFeatureExtractor``.
        fused: whether the model fuses a long clip's parts.
    """

    def __init__(self, extractor: Any, *, fused: bool) -> None:
        bank = extractor.mel_filters if extractor.truncation == "fusion" else extractor.mel_filters_slaney
        scale: Literal["htk", "slaney"] = "htk" if extractor.truncation == "fusion" else "slaney"
        if extractor.top_db is not None:
            raise ConfigError(f"an extractor with top_db={extractor.top_db!r} is not supported; CLAP's have None")
        window, hop = int(extractor.fft_window_size), int(extractor.hop_length)
        super().__init__(
            int(extractor.sampling_rate),
            windows=Windows(int(extractor.nb_max_samples), extractor.padding),
            stft=STFT(window, window, hop, "hann", pad_mode="reflect"),
            bank=torch.as_tensor(bank),
            n_mels=int(extractor.feature_size),
            f_min=float(extractor.frequency_min),
            f_max=float(extractor.frequency_max),
            mel_scale=scale,
            norm="slaney" if scale == "slaney" else None,
        )
        self.fused = fused

    def forward(self, waveform: Tensor) -> Tensor:
        samples = waveform.shape[-1]
        if not self.fused or samples <= self.windows.size:
            return super().forward(waveform)
        bands = self.log_mel(waveform)
        frames = self.stft.frames(self.windows.size)
        spare = bands.shape[1] - frames
        if not spare:
            return self.signed(bands[:, None], samples)
        whole = F.interpolate(bands[:, None], (frames, bands.shape[2]), mode="bilinear", align_corners=False)
        parts = [bands[:, None, start : start + frames] for start in _middles(spare + 1)]
        return self.signed(torch.cat([whole, *parts], 1), samples)


def _middles(count: int) -> list[int]:
    """The middle of each third of ``range(count)``, 0 for a third that is empty."""
    sizes = [count // 3 + (third < count % 3) for third in range(3)]
    return [sum(sizes[:third]) + size // 2 if size else 0 for third, size in enumerate(sizes)]


class FusedHTSAT(HTSAT):
    """HTSAT that fuses the parts of a long clip; its maps lie over the whole of it."""

    def heard(self, samples: int, steps: int) -> Tensor | None:
        return None if samples > self.windows.size else super().heard(samples, steps)

    def forward(self, features: Tensor) -> Tensor:
        clips, parts = features.shape[:2]
        longer = torch.full((clips, 1), parts > 1, device=features.device)
        with self.shown(clips, int(features[0, 0, -1, 0])):
            return self.run(features[:, :, :-1].expand(-1, 4, -1, -1), longer)


class ClapText(nn.Module):
    """Strings to embeddings (K, D).

    Args:
        model: a ``ClapModel``.
        tokenizer: of its text tower.
    """

    def __init__(self, model: Any, tokenizer: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model.text_model
        self.projection = model.text_projection
        self.tokenizer = tokenizer
        config = model.config.text_config
        places = config.max_position_embeddings - (config.pad_token_id or 0) - 1  # positions start after the padding's
        self.longest = min(places, int(getattr(tokenizer, "model_max_length", places)))

    def forward(self, texts: Sequence[str]) -> Tensor:
        tokens = tokenise(self.tokenizer, texts, self.longest, next(self.projection.parameters()).device)
        rows: Tensor = self.projection(self.model(**tokens).pooler_output)
        return rows


def from_clap(
    model: nn.Module | str | os.PathLike[str],
    processor: Any = None,
    *,
    prompts: Sequence[str] | Mapping[str, str | Sequence[str]],
    template: str | Sequence[str] = "This is a sound of {}.",
    temperature: float | None = None,
    revision: str | None = None,
    tolerance: float = 1e-3,
) -> ZeroShotClassifier:
    """Wrap a ``ClapModel``, unfused or fused.

    A clip shorter than the model's window (10 s) is repeated, as the extractor does; a longer one is heard in several
    windows, whose embeddings are averaged, or in parts that a fused model fuses. Maps and masks belong to the clip; its
    copies share them.

    Args:
        model: the model, or its name on the hub or folder, such as ``"laion/clap-htsat-unfused"``.
        processor: its ``ClapProcessor``, or anything with ``feature_extractor`` and ``tokenizer``; default the one that
            is saved beside the model.
        prompts: see :class:`audioxai.ZeroShotClassifier`.
        template: see there; default that of LAION's evaluation.
        temperature: default the model's own, ``exp(logit_scale_a)``.
        revision: of the model on the hub.
        tolerance: largest difference, as a share, from the model's own answer to a probe clip.

    Returns:
        The classifier, in evaluation mode. Its logits are those of ``ClapModel.forward``.

    Raises:
        MissingDependencyError: transformers is needed to load a name, and absent or broken.
        ClassifierError: no ``ClapModel``, or the wrapped model answers otherwise than the model itself.
        ConfigError: no processor is known, or one that does not belong to a CLAP.
    """
    if isinstance(model, str | os.PathLike):
        name = os.fspath(model)
        processor = processor or load_from_hub("ClapProcessor", name, revision)
        model = load_from_hub("ClapModel", name, revision)
    assert isinstance(model, nn.Module)
    clap: Any = model
    if getattr(getattr(clap, "config", None), "model_type", None) != "clap" or not hasattr(clap, "text_projection"):
        raise ClassifierError(f"{type(clap).__name__} is no ClapModel, which has both towers and their projections")
    if processor is None:
        if not getattr(clap, "name_or_path", ""):
            raise ConfigError("this ClapModel was not loaded from anywhere; pass processor=... of its checkpoint")
        processor = load_from_hub("ClapProcessor", clap.name_or_path, revision)
    extractor, tokenizer = (getattr(processor, part, None) for part in ("feature_extractor", "tokenizer"))
    if extractor is None or tokenizer is None:
        raise ConfigError(f"{type(processor).__name__} has no feature_extractor and tokenizer; pass a ClapProcessor")
    fused = bool(clap.config.audio_config.enable_fusion)
    try:
        frontend = ClapFrontend(extractor, fused=fused)
    except AttributeError as error:
        raise ConfigError(f"{type(extractor).__name__} is no extractor for a CLAP: {error}") from error
    tower = (FusedHTSAT if fused else HTSAT)(clap.audio_model, clap.audio_projection, frontend.windows)
    classifier = ZeroShotClassifier(
        tower,
        ClapText(clap, tokenizer),
        sample_rate=frontend.sample_rate,
        prompts=prompts,
        frontend=frontend,
        template=template,
        temperature=float(clap.logit_scale_a.detach().exp()) if temperature is None else temperature,
        layers=tower.layers,
    ).eval()

    def own(clip: Tensor) -> Tensor:
        """The extractor's and the model's own way; for scale and text, ours."""
        features = extract(extractor, clip).to(next(clap.parameters()))
        longer = torch.zeros(1, 1, dtype=torch.bool, device=features.device)
        audio = clap.get_audio_features(input_features=features, is_longer=longer)
        rows: Tensor = getattr(audio, "pooler_output", audio)  # a tensor before transformers 5
        return classifier.temperature * F.normalize(rows.float(), dim=1) @ classifier.text_embeddings.T

    return check_wrapped(classifier, own, tolerance=tolerance)
