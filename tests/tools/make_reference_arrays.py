"""Write the arrays in tests/data_arrays with the libraries that the package is compared with.

    python tests/tools/make_reference_arrays.py torchaudio      # writes torchaudio.npz
    python tests/tools/make_reference_arrays.py transformers    # writes transformers.npz
    python tests/tools/make_reference_arrays.py kaldi           # writes kaldi.npz, with torchaudio

Each needs that library installed. torchaudio 2.11 does not load beside CPU-only torch; in an environment of its own,
deleting its shared libraries (*.so) leaves the functions used here, which are pure Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from oracles import synthetic_clip  # noqa: E402

BANKS = {"narrow": (201, 0.0, 8000.0, 40, 16_000), "wide": (513, 50.0, 14_000.0, 64, 48_000)}
RATES = ((44_100, 16_000), (16_000, 48_000), (22_050, 16_000))


def torchaudio_arrays() -> dict[str, np.ndarray]:
    import torchaudio
    import torchaudio.functional as F
    import torchaudio.transforms as T

    out = {"versions": np.array([f"torchaudio {torchaudio.__version__}", f"torch {torch.__version__}"])}
    for name, bank in BANKS.items():
        for scale in ("htk", "slaney"):
            for norm in (None, "slaney"):
                out[f"fbanks/{name}/{scale}/{norm}"] = F.melscale_fbanks(*bank, norm, scale).numpy()

    clip = torch.from_numpy(synthetic_clip(0.25, 16_000))
    hamming = {"n_fft": 512, "win_length": 372, "hop_length": 186, "window_fn": torch.hamming_window}
    out["spectrogram/hann/2"] = T.Spectrogram(n_fft=400, hop_length=200)(clip).numpy()
    out["spectrogram/hamming/1"] = T.Spectrogram(**hamming, power=1.0, pad_mode="constant")(clip).numpy()
    out["mel/htk"] = T.MelSpectrogram(16_000, n_mels=40)(clip).numpy()
    slaney = T.MelSpectrogram(16_000, n_mels=40, f_min=50.0, f_max=7000.0, norm="slaney", mel_scale="slaney")
    out["mel/slaney"] = slaney(clip).numpy()

    for orig, new in RATES:
        wave = torch.from_numpy(synthetic_clip(0.05, orig)).double()  # in float32 the kernel is off by 2e-5
        out[f"resample/{orig}/{new}/hann"] = F.resample(wave, orig, new).float().numpy()
        kaiser = {"lowpass_filter_width": 16, "rolloff": 0.95, "resampling_method": "sinc_interp_kaiser"}
        out[f"resample/{orig}/{new}/kaiser"] = F.resample(wave, orig, new, **kaiser).float().numpy()
        out[f"resample/{orig}/{new}/kaiser8"] = F.resample(wave, orig, new, **kaiser, beta=8.0).float().numpy()

    power = torch.from_numpy(out["mel/htk"])
    pair = torch.stack([power, 1e-3 * power])[:, None]  # (B, C, M, N): top_db holds for each clip on its own
    out["db/power"] = F.amplitude_to_DB(power, 10.0, 1e-10, 0.0).numpy()
    out["db/top"] = F.amplitude_to_DB(pair, 10.0, 1e-10, 0.0, top_db=60.0).numpy()
    out["db/amplitude"] = F.amplitude_to_DB(power.sqrt(), 20.0, 1e-5, 0.0, top_db=60.0).numpy()
    return out


def transformers_arrays() -> dict[str, np.ndarray]:
    import transformers
    from transformers import ClapFeatureExtractor, WhisperFeatureExtractor

    out = {"versions": np.array([f"transformers {transformers.__version__}", f"numpy {np.__version__}"])}
    clip = synthetic_clip(0.6, 48_000)
    for truncation in ("fusion", "rand_trunc"):
        clap = ClapFeatureExtractor(frequency_min=50, max_length_s=0.6, truncation=truncation)
        clap.nb_max_samples = len(clip)
        features = clap(clip, sampling_rate=48_000, return_tensors="np")["input_features"]
        out[f"clap/{truncation}"] = features[0, 0]  # fusion stacks four equal copies of a short clip
    whisper = WhisperFeatureExtractor()
    clip = synthetic_clip(0.6, 16_000)
    features = whisper(clip, sampling_rate=16_000, padding="longest", return_tensors="np")["input_features"]
    out["whisper"] = features[0]
    return out


KALDI = {
    "defaults": {},
    "ast": {"window_type": "hanning", "num_mel_bins": 128},
    "other": {
        "window_type": "hamming", "num_mel_bins": 40, "low_freq": 50.0, "high_freq": -400.0, "frame_length": 30.0,
        "frame_shift": 7.0, "preemphasis_coefficient": 0.5, "remove_dc_offset": False,
    },
    "slow": {"window_type": "rectangular", "sample_frequency": 8000.0},
}  # fmt: skip


def kaldi_arrays() -> dict[str, np.ndarray]:
    import torchaudio
    from torchaudio.compliance import kaldi

    out = {"versions": np.array([f"torchaudio {torchaudio.__version__}", f"torch {torch.__version__}"])}
    clip = torch.from_numpy(synthetic_clip(0.3, 16_000))[None].double()
    for name, options in KALDI.items():
        out[name] = kaldi.fbank(clip, **options).numpy()
    return out


def main(library: str) -> None:
    makers = {"torchaudio": torchaudio_arrays, "transformers": transformers_arrays, "kaldi": kaldi_arrays}
    arrays = makers[library]()
    path = HERE.parent / "data_arrays" / f"{library}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size} bytes, {', '.join(arrays['versions'])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
