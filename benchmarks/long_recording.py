"""Explain one long recording from disk to disk: memory, speed, and how far it is from the definition.

    python benchmarks/long_recording.py MINUTES [FOLDER]

The recording, synthetic scenes at 44.1 kHz in stereo, is written scene by scene, and explained by the shipped network
and its L-MAC with ``explain_dataset``. Then some windows are explained alone, at the start, in the middle and at the
end, and joined by the definition, sample by sample. Prints a line of JSON, with the largest differences.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

import audioxai as ax
from audioxai.bulk.shard_storage import ExplainedClip
from audioxai.data import EVENTS, make_scene
from audioxai.sound.dsp import resample

SCENE, SCENES, RATE = 10.0, 30, 44100
WINDOW, OVERLAP = 10.0, 1.0
MARGIN = 1.0  # seconds around a window that its resampling may see


def write_recording(path: Path, minutes: float) -> None:
    """Scenes of two sounds each, left and right a little apart; every scene comes again after five minutes."""
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for number in range(math.ceil(60 * minutes / SCENE)):
            seed = number % SCENES
            pair = [EVENTS[seed % len(EVENTS)], EVENTS[(3 * seed + 1) % len(EVENTS)]]
            scene = make_scene(sorted(set(pair)), seconds=SCENE, sample_rate=RATE, seed=seed).waveform
            file.write(torch.stack([scene, 0.7 * scene], 1).numpy())


def differences(explainer: ax.LMAC, path: Path, clip: ExplainedClip) -> dict[str, float]:
    """The largest differences to the definition: windows of 10 s, one every 9 s, weighted by ramps where they overlap.

    The last window begins where those before leave at least half a window, and goes on to the end.
    """
    rate = explainer.classifier.sample_rate
    total = round(clip.seconds * rate)
    hop = WINDOW - OVERLAP
    count = math.ceil((clip.seconds - WINDOW / 2 - OVERLAP) / hop)
    kept, removed, mask = clip.kept, clip.removed, clip.mask
    step = explainer.space.stft.hop
    found = {"kept": 0.0, "removed": 0.0, "mask": 0.0, "scores": 0.0, "windows": float(abs(len(clip.windows) - count))}
    for first in (0, count // 3, count // 2, count - 3, count - 2):  # and the window after it
        begin, end = round(first * hop * rate), round(((first + 1) * hop + WINDOW) * rate)
        end = total if first + 2 == count else end
        sounds = torch.zeros(2, end - begin)
        frame = -(-begin // step)  # the first one at or after the beginning
        masks = torch.zeros_like(mask[:, frame : -(-end // step)])
        for number in (first, first + 1):
            start = round(number * hop * rate)
            stop = total if number + 1 == count else start + round(WINDOW * rate)
            one = explainer.explain(read_alone(path, start / rate, stop / rate, rate))
            weight = torch.ones(stop - start)
            ramp = (torch.arange(round(OVERLAP * rate)) + 0.5) / round(OVERLAP * rate)
            if number > 0:
                weight[: len(ramp)] = ramp
            if number + 1 < count:
                weight[len(weight) - len(ramp) :] = 1 - ramp
            part = slice(start - begin, stop - begin)
            sounds[:, part] += weight * torch.stack([one.waveform[0], one.removed[0]])
            for n in range(-(-start // step), -(-stop // step)):
                nearest = min((n * step - start + step // 2) // step, one.mask.shape[2] - 1)
                masks[:, n - frame] += weight[n * step - start] * one.mask[0, :, nearest]
            scores = [float(probs[0, int(one.target[0])]) for probs in one.scores]
            written = clip.windows[number]
            found["scores"] = max(found["scores"], *np.abs(np.subtract(scores, written.scores)).tolist())
            found["windows"] += written.target != one.target_names[0]
        # Where the window before the two, or after them, has a share, it is not compared.
        inner = slice(round((first > 0) * OVERLAP * rate), end - begin - round((first + 2 < count) * OVERLAP * rate))
        for name, written_sound, sound in (("kept", kept, sounds[0]), ("removed", removed, sounds[1])):
            found[name] = max(found[name], float((written_sound[begin:end] - sound)[inner].abs().max()))
        first_frame, last_frame = -(-(begin + inner.start) // step), (begin + inner.stop) // step
        gap = mask[:, first_frame:last_frame] - masks[:, first_frame - frame : last_frame - frame]
        found["mask"] = max(found["mask"], float(gap.abs().max()))
    return found


def read_alone(path: Path, start: float, stop: float, rate: int) -> torch.Tensor:
    """A part of the recording (T,), from its own samples and a margin around them."""
    before = min(start, MARGIN)
    samples, own = soundfile.read(
        path, start=round((start - before) * RATE), stop=round((stop + MARGIN) * RATE), dtype="float32"
    )
    heard = resample(torch.from_numpy(samples.mean(1)), own, rate)
    return heard[round(before * rate) :][: round((stop - start) * rate)]


def main(minutes: float, folder: Path) -> None:
    torch.set_num_threads(1)
    path = folder / "recording.wav"
    write_recording(path, minutes)
    explainer = ax.load_pretrained("esc10-compact")
    start, busy = time.perf_counter(), time.process_time()
    ax.explain_dataset(explainer, [path], folder / "out", shard_size=1, window=WINDOW, overlap=OVERLAP, progress=False)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (clip,) = ax.read_dataset(folder / "out")
    found = {
        "minutes": clip.seconds / 60,
        "windows": len(clip.windows),
        "peak MiB": peak,
        "real-time factor": seconds / clip.seconds,
        "of one core": busy / clip.seconds,  # the same, without what other processes take of it
        "differences": differences(explainer, path, clip),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as made:
        main(float(sys.argv[1]), Path(made))
