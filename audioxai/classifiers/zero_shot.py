"""ZeroShotClassifier: an audio and a text tower in one space make a classifier whose labels are prompts.

Its logits are temperature times the cosine between the clip's and each prompt's embedding. Source: Radford et al. 2021
(section 3.1); Elizalde et al. 2023, "CLAP: Learning Audio Concepts from Natural Language Supervision".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import AudioXAIError, ClassifierError, ConfigError, TargetError
from audioxai.support.identity import digest_of

__all__ = ["START_TEMPERATURE", "ZeroShotClassifier"]

#: Where the public CLAP models start from.
START_TEMPERATURE = 1 / 0.07

_MOST_KEPT = 10_000  # embeddings of texts
_BATCH = 64  # texts in one pass of the text tower
_EPS = 1e-8  # of lengths, so that gradients at an embedding of zeros stay finite

Prompts = Sequence[str] | Mapping[str, str | Sequence[str]]


class ZeroShotClassifier(AudioClassifier):
    """Any pair of towers, wrapped so that every explainer can work on it and a target may be any text.

    Args:
        audio_encoder: front end's output (or the waveform (B, T), without ``frontend``) to embeddings (B, D).
        text_encoder: list of K strings to embeddings (K, D). A module is moved, frozen and fingerprinted with the rest.
        sample_rate: rate in Hz that the audio tower was trained at.
        prompts: K strings, which are the labels; or a mapping from label to one or several prompts, whose embeddings
            are averaged.
        frontend: module from waveform to features.
        template: each prompt takes the place of ``{}`` in it, underscores as blanks; of several templates the
            embeddings are averaged.
        temperature: factor of the cosines; default 1 / 0.07.
        layers: as for :class:`AudioClassifier`, names being those of the audio tower's modules.

    Attributes:
        labels: of the prompts.
        prompts: label to its prompts.
        temperature: factor of the cosines.
        templates: one or more.

    A target that is not among the labels is embedded as a prompt, and joins them for that explanation, in a view (see
    :meth:`for_targets`): its scores are shares of all labels and the new one.

    Example:
        >>> classifier = ZeroShotClassifier(audio_tower, text_tower, sample_rate=16000, prompts=["a dog"])
        >>> classifier.set_prompts(["a dog", "rain on a roof", "a siren"])
        >>> GradCAM(classifier).explain("my.wav", "footsteps in the snow")
    """

    network: Similarity
    _is_view = False

    def __init__(
        self,
        audio_encoder: nn.Module,
        text_encoder: Callable[[list[str]], Tensor],
        *,
        sample_rate: int,
        prompts: Prompts,
        frontend: nn.Module | None = None,
        template: str | Sequence[str] = "{}",
        temperature: float | None = None,
        layers: Sequence[str | nn.Module] | Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> None:
        if not isinstance(audio_encoder, nn.Module):
            raise ConfigError(f"audio_encoder must be a torch.nn.Module; got {type(audio_encoder).__name__}")
        if not callable(text_encoder):
            raise ConfigError(
                f"text_encoder must take a list of strings and return (K, D); got {type(text_encoder).__name__}"
            )
        temperature = START_TEMPERATURE if temperature is None else temperature
        if not 0 < temperature < math.inf:
            raise ConfigError(f"temperature={temperature!r} must be a positive number, such as 14.3")
        network = Similarity(audio_encoder, float(temperature))
        super().__init__(network, sample_rate=sample_rate, frontend=frontend, layers=_inside(layers))
        self.text_encoder = text_encoder
        self._known: dict[str, Tensor] = {}
        self.set_prompts(prompts, template=template)

    @property
    def temperature(self) -> float:
        """Logits are this times the cosine."""
        return self.network.temperature

    @property
    def text_embeddings(self) -> Tensor:
        """(K, D) embeddings of the labels, of length 1."""
        return self.network.text

    # Prompts ------------------------------------------------------------------------------------------------------

    def set_prompts(self, prompts: Prompts, *, template: str | Sequence[str] | None = None) -> None:
        """Take other prompts as the labels. All are embedded anew, so call it after the text tower has changed, too.

        Args:
            prompts: see :class:`ZeroShotClassifier`.
            template: default the templates as they are.

        Raises:
            ConfigError: no prompts, a prompt twice, blank or no string, a template without ``{}``; or on a view.
            ClassifierError: the text tower failed.
        """
        if self._is_view:
            raise ConfigError(
                "this is a view of a classifier for some prompts, which never changes; call set_prompts on the "
                "classifier itself, or for_targets for more prompts"
            )
        given = _read_prompts(prompts)
        templates = self.templates if template is None else _read_templates(template)
        self._known.clear()
        text = self._embed(given.values(), templates)
        self.templates: tuple[str, ...] = templates
        self.prompts = {label: tuple(several) for label, several in given.items()}
        self.labels = tuple(given)
        self.network.text = text

    def embed_text(self, prompts: Sequence[str], *, template: str | Sequence[str] | None = None) -> Tensor:
        """Embeddings (K, D) of K prompts, of length 1, without gradients; those of texts seen before are kept.

        Args:
            prompts: strings, which may repeat.
            template: default the classifier's own; ``"{}"`` for whole captions.
        """
        if isinstance(prompts, str):
            raise ConfigError(f"prompts={prompts!r} is one string; pass a list: [{prompts!r}]")
        given = [[_check_prompt(prompt)] for prompt in prompts]
        if not given:
            raise ConfigError("there are no prompts to embed; pass at least one")
        return self._embed(given, self.templates if template is None else _read_templates(template))

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """(B, T) waveform to embeddings (B, D) of length 1, differentiably."""
        return self.network.embed(self.features(waveform))

    def _embed(self, groups: Iterable[Sequence[str]], templates: Sequence[str]) -> Tensor:
        """One embedding per group of prompts: the mean over its prompts and all templates, of length 1."""
        texts = [[t.replace("{}", p.replace("_", " ")) for p in group for t in templates] for group in groups]
        with torch.inference_mode(False), torch.no_grad():  # explainers differentiate through what is made of them
            found = self._encode([text for group in texts for text in group])
            means = [part.mean(0) for part in torch.split(found, [len(group) for group in texts])]
            return F.normalize(torch.stack(means), dim=1, eps=_EPS)

    def _encode(self, texts: list[str]) -> Tensor:
        """(K, D) of length 1, from memory where a text was seen before."""
        found = {text: row for text in texts if (row := self._known.get(text)) is not None}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            with self.frozen():
                for start in range(0, len(new), _BATCH):
                    part = new[start : start + _BATCH]
                    rows = F.normalize(self._run_text_encoder(part).detach().float().cpu(), dim=1, eps=_EPS)
                    found |= zip(part, rows, strict=True)
        self._known.update(found)  # in place, since views share it
        for text in list(self._known)[:-_MOST_KEPT]:
            self._known.pop(text, None)
        return torch.stack([found[text] for text in texts]).to(self.device)

    def _run_text_encoder(self, texts: list[str]) -> Tensor:
        shown = repr(texts[0])[:60]
        try:
            rows = self.text_encoder(texts)
        except (AudioXAIError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a foreign tower or tokenizer may raise anything
            raise ClassifierError(f"the text tower failed on {len(texts)} prompt(s), {shown} first: {error}") from error
        if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != len(texts):
            got = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            raise ClassifierError(f"the text tower must return (K, D) for K = {len(texts)} prompts; got {got}")
        if not torch.isfinite(rows).all():
            raise ClassifierError(f"the text tower returned NaN or infinite numbers for {shown}; check its weights")
        return rows

    # What explainers ask of it ------------------------------------------------------------------------------------

    def for_targets(self, targets: Sequence[Any]) -> Self:
        """A view to ask about targets: its labels are these, and behind them the texts in the targets that are none.

        A view is a classifier that shares all modules, weights and hooks with the one that it was made of, and has
        labels and text embeddings of its own, which never change, whatever becomes of the classifier's.

        Raises:
            TargetError: a text is blank.
        """
        labels = dict.fromkeys(self.labels or ())
        new = dict.fromkeys(text for target in targets for text in _texts(target) if text not in labels)
        if blank := [text for text in new if not text.strip()]:
            raise TargetError(f"target={blank[0]!r} is blank; name a label or describe a sound")
        if self._is_view and not new:
            return self
        rows = self.text_embeddings
        if new:
            with torch.inference_mode(False):
                rows = torch.cat([rows, self.embed_text(list(new)).to(rows)])
        return self.with_embeddings([*labels, *new], rows)

    def with_embeddings(self, labels: Sequence[str], embeddings: Tensor) -> Self:
        """A view, see :meth:`for_targets`, whose labels are these alone.

        Args:
            labels: K texts, all different.
            embeddings: (K, D) of length 1.
        """
        network, view = copy.copy(self.network), copy.copy(self)  # shallow: all is shared, but for what follows
        network._buffers = {**network._buffers, "text": embeddings}
        view._modules = {**view._modules, "network": network}
        view._is_view = True
        view.labels = tuple(labels)
        view.prompts = {label: self.prompts.get(label, (label,)) for label in labels}
        return view

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, temperature={self.temperature:.4g}"

    def fingerprint(self) -> str:
        """As of any classifier, with the temperature and the text tower, if that is a module; prompts may change."""
        text = self.text_encoder if isinstance(self.text_encoder, nn.Module) else None
        return digest_of([super().fingerprint(), text, self.temperature])

    def identity(self) -> dict[str, Any]:
        """As of any classifier, with prompts and templates."""
        prompts = [list(several) for several in self.prompts.values()]
        return super().identity() | {"prompts": prompts, "templates": list(self.templates)}


class Similarity(nn.Module):
    """Features to logits (B, K): temperature times the cosine to each text embedding."""

    text: Tensor

    def __init__(self, encoder: nn.Module, temperature: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature
        self.register_buffer("text", torch.zeros(0, 0), persistent=False)

    def embed(self, features: Tensor) -> Tensor:
        """Features to embeddings (B, D) of length 1."""
        rows = self.encoder(features)
        if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != len(features):
            got = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            raise ClassifierError(
                f"the audio tower must return embeddings (B, D) for B = {len(features)} clips; got {got}. "
                "Wrap it in a module whose forward returns them"
            )
        return F.normalize(rows.float(), dim=1, eps=_EPS)

    def forward(self, features: Tensor) -> Tensor:
        audio = self.embed(features)
        if audio.shape[1] != self.text.shape[1]:
            raise ClassifierError(
                f"the audio tower gives {audio.shape[1]} numbers a clip, the text tower {self.text.shape[1]} a prompt; "
                "they share no space: add the projections that belong to them"
            )
        with torch.autocast(audio.device.type, enabled=False):
            return self.temperature * audio @ self.text.T.to(audio)


def _inside(
    layers: Sequence[str | nn.Module] | Mapping[str, Callable[[Tensor], Tensor]] | None,
) -> Sequence[str | nn.Module] | Mapping[str, Callable[[Tensor], Tensor]] | None:
    """Names of the audio tower's modules as names in the network."""

    def name(given: str) -> str:
        return given if given.startswith("encoder.") else f"encoder.{given}"

    if isinstance(layers, Mapping):
        return {name(given): function for given, function in layers.items()}
    return layers and [name(layer) if isinstance(layer, str) else layer for layer in layers]


def _read_prompts(prompts: Any) -> dict[str, list[str]]:
    """Label to prompts."""
    if isinstance(prompts, str) or not isinstance(prompts, Iterable):
        raise ConfigError(f"prompts={prompts!r} is no list; pass a list of strings, or label to prompts")
    if isinstance(prompts, Mapping):
        given = {label: [several] if isinstance(several, str) else list(several) for label, several in prompts.items()}
        if bare := [label for label, several in given.items() if not several]:
            raise ConfigError(f"the label {bare[0]!r} has no prompts; give it at least one")
    else:
        items = list(prompts)
        for item in items:
            _check_prompt(item)
        given = {item: [item] for item in items}
        if len(given) < len(items):
            twice = sorted({item for item in items if items.count(item) > 1})
            raise ConfigError(f"prompts must be distinct; {', '.join(map(repr, twice[:3]))} comes more than once")
    if not given:
        raise ConfigError("prompts is empty; a zero-shot classifier needs at least one")
    for label, several in given.items():
        for item in (label, *several):
            _check_prompt(item)
    return given


def _check_prompt(prompt: Any) -> str:
    if not isinstance(prompt, str):
        raise ConfigError(f"a prompt is a string; got {prompt!r} ({type(prompt).__name__})")
    if not prompt.strip():
        raise ConfigError(f"the prompt {prompt!r} is blank; describe a sound")
    return prompt


def _read_templates(template: Any) -> tuple[str, ...]:
    templates = (template,) if isinstance(template, str) else tuple(template)
    wrong = [t for t in templates if not isinstance(t, str) or t.count("{}") != 1]
    if wrong or not templates:
        raise ConfigError(f"template={template!r}: each template holds one {{}}, such as 'the sound of {{}}'")
    return templates


def _texts(target: Any) -> list[str]:
    """The strings in what a caller gave as a target."""
    if isinstance(target, str):
        return [target]
    if isinstance(target, np.ndarray):
        return _texts(target.tolist())
    return [item for item in target if isinstance(item, str)] if isinstance(target, Sequence) else []
