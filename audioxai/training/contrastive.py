"""How an audio and a text tower are trained into one space, and a zero-shot classifier from labelled clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.data.captions import MixtureCaptions
from audioxai.data.scenes import SceneDataset
from audioxai.errors import InputError
from audioxai.nn.clap import CompactCLAP
from audioxai.nn.classifiers import CompactCNN
from audioxai.sound.frontends import LogMel
from audioxai.training.loop import History, TrainingOptions, train

__all__ = ["TEMPLATE", "contrastive_loss", "train_clap", "train_zero_shot"]

#: How labels become prompts.
TEMPLATE = "the sound of {}"

_HOTTEST = 50.0  # bound of the temperature


def contrastive_loss(audio: Tensor, text: Tensor, matches: Tensor, temperature: Tensor | float) -> Tensor:
    """Cross-entropy of each clip against the texts that match it, and of each text against its clips, averaged.

    With one match each it is the loss of CLIP and CLAP; of several matches each has an equal share. Clips and texts
    without any are left out. Source: Khosla et al. 2020, eq. 2, over two modalities.

    Args:
        audio: (B, D) embeddings of length 1.
        text: (P, D) embeddings of length 1.
        matches: (B, P) bool.
        temperature: factor of the cosines.
    """
    with torch.autocast(audio.device.type, enabled=False):  # bfloat16 would round the hotter logits to quarters
        logits = temperature * audio.float() @ text.float().T
    losses = []
    for scores, right in ((logits, matches), (logits.T, matches.T)):
        counts = right.sum(1)
        each = -(scores.log_softmax(1) * right).sum(1) / counts.clamp(min=1)
        losses.append(each.sum() / (counts > 0).sum().clamp(min=1))
    return (losses[0] + losses[1]) / 2


def train_clap(
    clap: CompactCLAP,
    frontend: nn.Module,
    loader: Iterable[Any],
    *,
    epochs: int = 30,
    lr: float = 3e-3,
    weight_decay: float = 1e-2,
    **training: Any,
) -> History:
    """Train both towers in place, and the temperature; they are left in evaluation mode.

    Args:
        clap: the towers.
        frontend: (B, T) waveforms to what the audio tower eats.
        loader: re-iterable batches (waveform (B, T), P captions, matches (B, P)). With ``None`` for matches, caption i
            is that of clip i, and of clips with an equal caption.
        epochs: passes over the loader.
        lr: peak learning rate.
        weight_decay: of AdamW.
        **training: other options of :class:`audioxai.training.loop.TrainingOptions`.

    Returns:
        Losses per epoch.
    """

    def step(batch: Any) -> dict[str, Tensor]:
        try:
            waveform, captions, matches = batch
        except (TypeError, ValueError) as error:
            raise InputError(
                f"training a CLAP takes batches of (waveform, captions, matches); got {type(batch).__name__}"
            ) from error
        if matches is None:
            matches = torch.tensor([[mine == other for other in captions] for mine in captions])
        if matches.shape != (len(waveform), len(captions)):
            raise InputError(
                f"{len(waveform)} clips and {len(captions)} captions need matches of shape "
                f"({len(waveform)}, {len(captions)}); got {tuple(matches.shape)}"
            )
        device = clap.log_temperature.device
        audio = nn.functional.normalize(clap.audio(frontend(waveform.to(device))), dim=1)
        text = nn.functional.normalize(clap.text(captions), dim=1)
        temperature = clap.log_temperature.exp().clamp(max=_HOTTEST)
        return {"loss": contrastive_loss(audio, text, matches.to(device), temperature)}

    options = TrainingOptions(epochs=epochs, lr=lr, weight_decay=weight_decay, **training)
    history = train(clap, step, loader, options, name="CLAP")
    clap.eval()
    return history


def train_zero_shot(
    clips: Tensor,
    classes: Sequence[int] | Tensor,
    labels: Sequence[str],
    *,
    sample_rate: int,
    scenes: int = 240,
    start: CompactCNN | None = None,
    seconds: float | None = None,
    epochs: int = 50,
    batch: int = 32,
    seed: int = 0,
    device: torch.device | str | None = None,
    **training: Any,
) -> tuple[ZeroShotClassifier, History]:
    """Train a compact CLAP on labelled clips, and give it their labels as prompts, through :data:`TEMPLATE`.

    It learns from the clips, from synthetic events and from mixtures of any two, with sentences made from their labels:
    see :class:`audioxai.data.captions.MixtureCaptions`. The caller's random state is left as it was.

    Args:
        clips: (N, T) of one sound each.
        classes: N places among the labels.
        labels: K names; ``clock_tick`` is read as words.
        sample_rate: in Hz.
        scenes: synthetic events beside the clips, from :mod:`audioxai.data.scenes`.
        start: network whose trunk the audio tower starts from.
        seconds: length of the pieces that are heard at once; default whole clips.
        epochs: passes, each of as many pieces as there are clips and events.
        batch: pieces in a batch.
        seed: of weights, events and draws.
        device: default the GPU, if there is one.
        **training: of :func:`train_clap`.

    Returns:
        The classifier in evaluation mode, on the device, and the losses per epoch.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    names = [labels[int(k)] for k in classes]
    synthetic = SceneDataset(scenes, seconds=clips.shape[1] / sample_rate, sample_rate=sample_rate, seed=seed + 1)
    events = [synthetic.scene(i) for i in range(scenes)]
    names += [name for event in events for name in event.names]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clap = CompactCLAP()
    if start is not None:
        trunk = {name: value for name, value in start.state_dict().items() if not name.startswith("head.")}
        clap.audio.load_state_dict({**clap.audio.state_dict(), **trunk})
    frontend = LogMel(sample_rate).to(device)
    loader = MixtureCaptions(
        torch.cat([clips, *(event.waveform[None] for event in events)]).to(device),
        names,
        batch=batch,
        samples=None if seconds is None else round(seconds * sample_rate),
    )
    history = train_clap(clap.to(device), frontend, loader, epochs=epochs, seed=seed, **training)
    classifier = ZeroShotClassifier(
        clap.audio,
        clap.text,
        sample_rate=sample_rate,
        prompts=labels,
        frontend=frontend,
        template=TEMPLATE,
        temperature=clap.temperature,
    )
    return classifier.eval(), history
