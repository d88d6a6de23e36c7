"""AudioClassifier: front end + network + labels, with access to the latents that explainers read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from audioxai.classifiers.latents import LatentLayer, choose_layers, name_of, read_layers, scaled_gradient
from audioxai.classifiers.turns import turn_of
from audioxai.errors import AudioXAIError, ClassifierError, ConfigError, LabelsError
from audioxai.support.identity import describe, digest_of

__all__ = ["AudioClassifier"]

_SHOWN = 12  # labels, where a classifier is printed
_HALF_SCALE = 1024.0


@dataclass
class _Shared:
    """What a classifier notes of its network, and what its views note with it."""

    layers: tuple[LatentLayer, ...] = ()
    frozen: bool = False
    restored: Counter[int] = field(default_factory=Counter)  # buffer to the writes in it that were taken back


class AudioClassifier(nn.Module):
    """Any network that classifies audio, wrapped so that every explainer can work on it.

    Args:
        network: features (or the waveform (B, T), without ``frontend``) to logits (B, K). An output object with a
            ``logits`` attribute is accepted.
        sample_rate: rate in Hz that the network was trained at.
        frontend: module from waveform (B, T) to features, such as :class:`audioxai.LogMel`.
        labels: K class names.
        layers: modules whose outputs feed decoders and CAMs, as names or modules, or a mapping from name to a function
            that turns the module's output into a map (B, C, F, N). Default: found by a dry run, the deepest map of each
            resolution, at most four; read them back from :attr:`layers`.
        multilabel: probabilities are sigmoids of the logits, not a softmax.

    Example:
        >>> classifier = AudioClassifier(WaveformCNN(3), sample_rate=16000, labels=["a", "b", "c"])
        >>> classifier(torch.zeros(2, 16000)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        sample_rate: int,
        frontend: nn.Module | None = None,
        labels: Sequence[str] | None = None,
        layers: Sequence[str | nn.Module] | Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        multilabel: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise ConfigError(f"network must be a torch.nn.Module; got {type(network).__name__}")
        if not isinstance(sample_rate, int) or isinstance(sample_rate, bool) or sample_rate <= 0:
            raise ConfigError(f"sample_rate={sample_rate!r} must be a positive whole number of Hz")
        rate = getattr(frontend, "sample_rate", sample_rate)
        if rate != sample_rate:
            raise ConfigError(f"the front end is made for {rate} Hz, the classifier for {sample_rate} Hz; use one rate")
        if isinstance(labels, str) or any(not isinstance(label, str) for label in labels or ()):
            raise ConfigError(f"labels={labels!r} must be a list of names, one for each output of the network")
        if labels is not None and len(set(labels)) != len(labels):
            raise ConfigError("labels must be distinct, since targets are looked up by label")
        self.network = network
        self.frontend = frontend
        self.sample_rate = sample_rate
        self.labels = None if labels is None else tuple(labels)
        self.multilabel = multilabel
        self._shared = _Shared()
        self._asked = layers
        for layer in layers if layers is not None else ():
            name_of(network, layer)  # an unknown one is refused here

    def extra_repr(self) -> str:
        labels = self.labels if self.labels is None or len(self.labels) <= _SHOWN else f"{len(self.labels)} of them"
        return f"sample_rate={self.sample_rate}, labels={labels}, multilabel={self.multilabel}"

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are; the CPU for a network without any."""
        first = next(self.network.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules whose outputs feed decoders and CAMs, shallowest first."""
        return tuple(layer.name for layer in self.latent_layers)

    @property
    def latent_layers(self) -> tuple[LatentLayer, ...]:
        """The layers with the way their outputs become maps (B, C, F, N); found by a dry run on first use."""
        if not self._shared.layers:
            self._shared.layers = self._choose_layers(self._asked)
        return self._shared.layers

    def latent_layer(self, layer: str | nn.Module) -> LatentLayer:
        """Any layer, by name or as a module, and the way its output becomes a map; from a dry run if need be.

        Raises:
            ConfigError: the network has no such layer.
            ClassifierError: it is never reached, or carries no map over time.
        """
        name = name_of(self.network, layer)
        chosen = {known.name: known for known in self.latent_layers}
        return chosen[name] if name in chosen else self._choose_layers([name])[0]

    def _choose_layers(
        self, asked: Sequence[str | nn.Module] | Mapping[str, Callable[[Tensor], Tensor]] | None
    ) -> tuple[LatentLayer, ...]:
        with self.frozen(), torch.random.fork_rng(devices=[]), torch.no_grad():
            return choose_layers(self.network, lambda clips: self(clips.to(self.device)), self.sample_rate, asked)

    def features(self, waveform: Tensor) -> Tensor:
        """(B, T) waveform to the network's input."""
        return waveform if self.frontend is None else self.frontend(waveform.clone())

    def classify(self, features: Tensor) -> Tensor:
        """The network's input to logits (B, K).

        Raises:
            ClassifierError: the network failed, or its output is not (B, K).
        """
        scale = self._gradient_scale()
        try:
            with self.turn():
                logits = self.network(scaled_gradient(features, 1 / scale))  # a copy: a layer may work in place
        except AudioXAIError:
            raise
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise ClassifierError(
                f"the network failed on an input of shape {tuple(features.shape)}: {error}. "
                "If the clip is shorter than the network takes, pad it; if axes are swapped, set the front end's layout"
            ) from error
        logits = getattr(logits, "logits", logits)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(features):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ClassifierError(
                f"the network must return logits of shape (B, K) = ({len(features)}, K); got {got}. "
                "Wrap it in a module whose forward returns them"
            )
        if self.labels is not None and logits.shape[1] != len(self.labels):
            raise LabelsError(f"the network has {logits.shape[1]} outputs, but {len(self.labels)} labels were given")
        return scaled_gradient(logits.float(), scale)

    def _gradient_scale(self) -> float:
        """What gradients inside the network are multiplied by: in float16 those of a mean over a map are lost in 0."""
        if not self._shared.frozen:  # what trains a network scales its loss itself
            return 1.0
        device = self.device.type
        mixed = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
        half = mixed or any(parameter.dtype == torch.float16 for parameter in self.network.parameters())
        return _HALF_SCALE if half else 1.0

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) waveform to logits (B, K)."""
        with self.turn():
            return self.classify(self.features(waveform))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K) logits to probabilities: softmax, or sigmoids when multilabel."""
        return logits.sigmoid() if self.multilabel else logits.softmax(1)

    def classify_with_latents(self, features: Tensor, *, differentiable: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Logits and the latents of :attr:`layers` from one forward pass.

        Args:
            features: the network's input.
            differentiable: cut the graph below the shallowest layer and let the latents require gradients, so that
                the gradient of a score to the latents costs no pass through the layers below.

        Returns:
            Logits (B, K) and raw layer outputs, shallowest first; see :meth:`as_maps`.
        """
        names = self.layers
        with torch.set_grad_enabled(differentiable):
            return self.read_layers(names, features, cut=differentiable)

    def read_layers(self, names: Sequence[str], features: Tensor, *, cut: bool) -> tuple[Tensor, list[Tensor]]:
        """Logits and the raw outputs of any layers, from one forward pass.

        Args:
            names: layers, in the order wanted.
            features: the network's input.
            cut: start the autograd graph at each layer that has none yet, so that it becomes a leaf.

        Raises:
            ClassifierError: a layer that the forward pass never reached.
        """
        scale = self._gradient_scale()
        with self.turn():
            return read_layers(self.network, lambda: self.classify(features), names, cut=cut, gradient_scale=scale)

    def as_maps(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """Raw layer outputs as maps (B, C, F, N): frequency rows F (1 when there is none) by time steps N."""
        return [layer.as_map(latent) for layer, latent in zip(self.latent_layers, latents, strict=True)]

    def for_targets(self, targets: Sequence[Any]) -> Self:
        """The classifier to ask about targets: this one, unless targets may be texts that are not among the labels."""
        return self

    def turn(self) -> AbstractContextManager[Any]:
        """Inside, no other thread explains or asks this network, or any that shares a part; a thread may nest turns."""
        return turn_of(self)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Evaluation mode without parameter gradients inside; everything as it was outside, after errors too.

        Other threads wait for their :meth:`turn`. Weights that a thread changes meanwhile, without asking, are its own
        risk.
        """
        with self.turn():
            modes = [(module, module.training) for module in self.modules()]
            flags = [(parameter, parameter.requires_grad) for parameter in self.parameters()]
            buffers = [(buffer, buffer.clone(), _version(buffer)) for buffer in self.buffers()]
            before = self._shared.frozen
            try:
                self._shared.frozen = True
                self.eval()
                self.requires_grad_(False)
                yield
            finally:
                self._shared.frozen = before
                for module, mode in modes:
                    module.training = mode
                for parameter, flag in flags:
                    parameter.requires_grad_(flag)
                with torch.no_grad():
                    for buffer, value, version in buffers:
                        if not torch.equal(buffer, value):
                            buffer.copy_(value)
                        self._shared.restored[id(buffer)] += _version(buffer) - version

    def stamp(self) -> tuple[Any, ...]:
        """What becomes another when somebody changes a weight or buffer, at next to no cost.

        It counts writes, and reads a few numbers for those that are not counted, through ``.data``.
        """
        parameters = list(self.parameters())
        some = [one.detach().flatten()[:1].double().cpu() for one in (*parameters[:1], *parameters[-2:])]
        written = [(id(one), _version(one) - self._shared.restored[id(one)]) for one in (*parameters, *self.buffers())]
        return (*written, *torch.cat(some).tolist()) if some else tuple(written)

    def fingerprint(self) -> str:
        """SHA-256 over network and front end, with their settings and weights; a saved explainer refuses another one.

        Of each module its name, its type and what its ``extra_repr`` tells count, so that another activation, stride or
        pooling is another network. A setting of your own counts if your ``extra_repr`` tells it.
        """
        rate, multilabel = self.sample_rate, self.multilabel
        return digest_of([self.network, self.frontend, {"sample_rate": rate, "multilabel": multilabel}])

    def identity(self) -> dict[str, Any]:
        """All that decides its explanations, as JSON types: fingerprint, labels, layers, and how those become maps."""
        try:
            layers = self.latent_layers
        except ClassifierError:  # a network without maps has no CAMs, but other explanations
            layers = ()
        return {
            "fingerprint": self.fingerprint(),
            "labels": list(self.labels or ()),
            "layers": [layer.name for layer in layers],
            "maps": describe([layer.reshape for layer in layers]),
        }


def _version(tensor: Tensor) -> int:
    """How often it was written; inference tensors do not tell."""
    return -1 if tensor.is_inference() else tensor._version
