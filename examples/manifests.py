"""The test sets that the package ships: ESC-10's fold 5 at 16 kHz and 5 s, alone and contaminated.

python examples/manifests.py ESC10-FOLDER SPEECH-FOLDER --out audioxai/data/manifests_shipped
"""

from __future__ import annotations

import argparse
from pathlib import Path

from audioxai.data import ESC50, ClipSet, Manifest, SoundFolder, make_manifest


def esc10_manifests(esc: Path, speech: Path, *, seed: int = 0) -> list[Manifest]:
    """Fold 5 alone, with fold 4, with speech, with white noise."""
    clips = ESC50(esc, folds=[5], esc10=True)
    noises: dict[str, ClipSet | None] = {
        "id": None,
        "mixtures": ESC50(esc, folds=[4], esc10=True),
        "speech": SoundFolder(speech),
        "white-noise": None,
    }
    return [
        make_manifest(clips, condition, noise, seed=seed, name=f"esc10-fold5-{condition}")
        for condition, noise in noises.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("esc", type=Path, help="folder of ESC-50 or ESC-10")
    parser.add_argument("speech", type=Path, help="folder of readings")
    parser.add_argument("--out", type=Path, default=Path("runs/manifests"), help="folder to write to")
    args = parser.parse_args()
    for manifest in esc10_manifests(args.esc, args.speech):
        manifest.save(args.out / f"{manifest.name}.json")
        print(f"{manifest.name}: {len(manifest)} items, {len(manifest.files)} files")
