"""Small data sets in the layouts of the published archives."""

import csv

import pytest
from data.recordings import ESC_ROWS, sound

import audioxai as ax


@pytest.fixture
def esc_folder(tmp_path):
    """Function that makes an ESC-50 folder: the table names WAV files, the files have any suffix."""

    def make(name="esc", rows=ESC_ROWS, suffix=".wav", rate=16000, seconds=0.5):
        root = tmp_path / name
        (root / "meta").mkdir(parents=True)
        with (root / "meta" / "esc50.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
            for stem, fold, target, category, esc10 in rows:
                table.writerow([f"{stem}.wav", fold, target, category, esc10, "1", "A"])
        for i, row in enumerate(rows):
            ax.save(root / "audio" / f"{row[0]}{suffix}", sound(round(seconds * rate), i), rate)
        return root

    return make


@pytest.fixture
def speech_folder(tmp_path):
    """Function that makes a folder of sounds: name to length in samples, at 16 kHz."""

    def make(name="speech", **lengths):
        for i, (stem, samples) in enumerate(lengths.items()):
            ax.save(tmp_path / name / f"{stem}.wav", sound(samples, 100 + i), 16000)
        return tmp_path / name

    return make
