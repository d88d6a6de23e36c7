"""Make the manifests that come with the package.

Run it as ``python -m audioxai.data.ship ESC10-FOLDER SPEECH-FOLDER OUT``, with OUT the folder
``audioxai/data/manifests_shipped`` of a clone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from audioxai.data.clips import ClipSet
from audioxai.data.esc50 import ESC50
from audioxai.data.manifests import Manifest
from audioxai.data.sound_folder import SoundFolder
from audioxai.data.testsets import make_manifest
from audioxai.support.files import PathLike

__all__ = ["esc10_manifests"]


def esc10_manifests(esc: PathLike, speech: PathLike, *, seed: int = 0) -> list[Manifest]:
    """The manifests of ESC-10's fold 5 at 16 kHz and 5 s: alone, with fold 4, with speech, with white noise.

    Args:
        esc: folder of ESC-50 or ESC-10.
        speech: folder of readings.
        seed: of all draws.
    """
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


def main() -> None:
    """Write the manifests."""
    parser = argparse.ArgumentParser(description="Make the manifests that come with the package.")
    parser.add_argument("esc", type=Path, help="folder of ESC-50 or ESC-10")
    parser.add_argument("speech", type=Path, help="folder of readings")
    parser.add_argument("out", type=Path, help="folder to write to")
    args = parser.parse_args()
    for manifest in esc10_manifests(args.esc, args.speech):
        manifest.save(args.out / f"{manifest.name}.json")
        print(f"{manifest.name}: {len(manifest)} items, {len(manifest.files)} files")


if __name__ == "__main__":
    main()
