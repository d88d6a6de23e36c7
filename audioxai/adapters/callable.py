"""Any function from sound to scores, without gradients: an ONNX session, a remote model, another framework's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audioxai.adapters.check import check_wrapped
from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import AudioXAIError, ClassifierError, ConfigError
from audioxai.support.identity import digest_of

__all__ = ["from_callable"]


class _Function(nn.Module):
    def __init__(self, function: Callable[[Any], Any], probabilities: bool, multilabel: bool) -> None:
        super().__init__()
        self.function = function
        self.probabilities = probabilities
        self.multilabel = multilabel

    def extra_repr(self) -> str:  # part of a classifier's fingerprint
        return f"function={digest_of(self.function)[:16]}, probabilities={self.probabilities}"

    def forward(self, waveform: Tensor) -> Tensor:
        given = np.ascontiguousarray(waveform.detach().cpu().numpy(), dtype=np.float32)
        try:
            scores = np.asarray(self.function(given), dtype=np.float32)
        except (AudioXAIError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever the other library raises
            raise ClassifierError(
                f"the function failed on an array {given.shape}: {error}. "
                "It must take any number of clips of any length; if it takes one at a time, pass "
                "lambda clips: np.concatenate([function(c[None]) for c in clips])"
            ) from error
        if scores.ndim != 2 or len(scores) != len(given):
            raise ClassifierError(
                f"the function must return ({len(given)}, K) scores for {given.shape} samples; got {scores.shape}"
            )
        found = torch.from_numpy(scores).to(waveform.device)
        if not self.probabilities:
            return found
        if (scores < -1e-6).any() or (scores > 1 + 1e-6).any():
            raise ClassifierError(
                f"probabilities=True, but the function returned scores from {scores.min():.3g} to {scores.max():.3g}; "
                "leave it out for logits"
            )
        found = found.clamp(1e-7, 1 - 1e-7)
        return found.logit() if self.multilabel else found.log()


def from_callable(
    function: Any,
    sample_rate: int,
    labels: Sequence[str] | None = None,
    *,
    probabilities: bool = False,
    multilabel: bool = False,
    seconds: float = 1.0,
) -> AudioClassifier:
    """Wrap a function of arrays for the methods that ask for scores only: Occlusion, LIME, KernelSHAP and the controls.

    Methods that need gradients or latents refuse it with a :class:`ClassifierError`.

    Args:
        function: float32 array (B, T) to scores (B, K), the same for a clip in any batch; or an ONNX Runtime session
            whose first input and output are those.
        sample_rate: in Hz.
        labels: K names.
        probabilities: the scores are probabilities, whose logarithms (or log-odds, when multilabel) become the logits.
        multilabel: probabilities are sigmoids of the logits.
        seconds: length of the probe clips that the function is tried with.

    Raises:
        ConfigError: it cannot be called.
        ClassifierError: it fails, returns no (B, K), or a clip's scores depend on the other clips of its batch.
    """
    if hasattr(function, "run") and hasattr(function, "get_inputs"):
        session, name = function, function.get_inputs()[0].name

        def function(waveform: Any) -> Any:
            return session.run(None, {name: waveform})[0]

    if not callable(function):
        raise ConfigError(f"from_callable takes a function of an array (B, T); got {type(function).__name__}")
    network = _Function(function, probabilities, multilabel)
    classifier = AudioClassifier(network, sample_rate=sample_rate, labels=labels, multilabel=multilabel)
    return check_wrapped(classifier, None, seconds=seconds)
