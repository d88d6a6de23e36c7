"""LMAC-TD in the benchmark, and L-MAC as it is heard."""

import torch
from benchmark import trees

from audioxai.benchmark.run import run
from audioxai.benchmark.settings import Settings


def test_lmac_is_read_out_by_its_masks_and_by_its_sounds_beside_lmac_td(tmp_path):
    said = []
    settings = Settings(
        "esc50", trees.esc50(tmp_path / "esc"), tmp_path / "out", conditions=("mixtures",), seconds=1.0, epochs=1,
        classifier_epochs=2, methods=("lmac", "lmac-heard", "lmac-td-0", "lmac-td-0.75"),
    )  # fmt: skip
    scores = run(settings, said.append).tables[0].results.scores
    names = ["L-MAC (evidence)", "L-MAC (evidence), as heard", "LMAC-TD (alpha 0)", "LMAC-TD (alpha 0.75)"]
    assert list(scores)[-4:] == names
    masks, sounds = scores[names[0]], scores[names[1]]
    for metric in ("MM", "SI-SDR", "SI-SAR", "SIR gain"):
        torch.testing.assert_close(masks[metric], sounds[metric], equal_nan=True)
    assert not torch.equal(masks["AD"], sounds["AD"])
    assert scores[names[2]]["FF"].isfinite().all()
    assert [line for line in said if line.startswith("fit ")].count("fit L-MAC (evidence), stft, seed 0") == 1
