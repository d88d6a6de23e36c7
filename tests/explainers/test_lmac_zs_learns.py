"""What LMAC-ZS learns of a CLAP whose right explanations are known."""

import numpy as np
import pytest
import torch
from band_clap import BANDS, band_clap, batches, clips
from torch import nn

import audioxai as ax

LONG = {"epochs": 30, "lr": 2e-2, "progress": False}


@pytest.fixture(scope="module", params=["evidence+gate", "film"])
def fitted(request):
    return ax.LMACZS(band_clap(), conditioning=request.param, width=8).fit(batches(), **LONG)


def mixtures():
    """Clips of two bands each (B, T), and whether each band is in each clip (B, 3)."""
    single, classes = clips(9, seed=1)
    inside = nn.functional.one_hot(classes, 3).bool()
    return single + single.roll(1, 0), inside | inside.roll(1, 0)


def follows(explainer, prompts=tuple(BANDS)):
    """Correlation of mask mean and similarity over clips and bands, of one sound and of two; NaN of equal masks."""
    waveform = torch.cat([clips(9, seed=1)[0], mixtures()[0]])
    with torch.no_grad():
        similarity = explainer.classifier(waveform) / explainer.classifier.temperature
    means = [result.mask.mean((1, 2)) for result in explainer.explain_all(waveform, list(prompts))]
    return float(torch.corrcoef(torch.stack([torch.stack(means, 1).flatten(), similarity.flatten()]))[0, 1])


def shares(explainer):
    """Energy that each prompt's mask keeps of each band, (B, prompts, bands)."""
    waveform, _ = mixtures()
    power = explainer.space.magnitude(explainer.space.analyse(waveform)).square()
    inside = explainer.classifier.network.encoder.bands[:3]
    rows = []
    for result in explainer.explain_all(waveform, list(BANDS)):
        kept = power * result.mask.square()
        rows.append(torch.stack([(band[:, None] * kept).sum((1, 2)) for band in inside], 1))
    whole = torch.stack([(band[:, None] * power).sum((1, 2)) for band in inside], 1)
    return torch.stack(rows, 1) / whole[:, None]


def test_the_mask_selects_the_band_that_the_prompt_names(fitted):
    kept, (_, inside) = shares(fitted), mixtures()
    for clip, there in zip(kept, inside, strict=True):
        for band in there.nonzero()[:, 0].tolist():
            assert clip[band, band] > 0.5
            others = [k for k in there.nonzero()[:, 0].tolist() if k != band]
            assert clip[band, others].max() < 0.05


def test_the_mask_of_an_absent_prompt_is_nearly_empty(fitted):
    waveform, inside = mixtures()
    power = fitted.space.magnitude(fitted.space.analyse(waveform)).square()
    means, energies = [], []
    for result in fitted.explain_all(waveform, list(BANDS)):
        means.append(result.mask.mean((1, 2)))
        energies.append((power * result.mask.square()).sum((1, 2)) / power.sum((1, 2)))
    means, energies = torch.stack(means, 1), torch.stack(energies, 1)
    assert means[~inside].mean() < 0.5 * means[inside].mean()
    assert energies[~inside].max() < 0.05
    assert energies[inside].min() > 0.2


def test_mask_mean_follows_similarity_and_a_map_blind_to_prompts_does_not(fitted):
    assert follows(fitted) > 0.5
    for blind in (follows(ax.EnergyMask(fitted.classifier)), follows(fitted, [None] * 3)):
        assert np.isnan(blind) or blind < 0.2
    assert shares(ax.EnergyMask(fitted.classifier)).std(1).max() == 0  # one mask for all prompts


def test_what_is_kept_is_like_what_the_prompt_names(fitted):
    waveform, inside = mixtures()
    for band, name in enumerate(BANDS):
        result = fitted.explain(waveform, name)
        scores = result.scores
        assert (scores.kept[inside[:, band], band] > 0.9).all()
        assert (scores.removed[inside[:, band], band] < 0.1).all()


def test_a_prompt_never_seen_in_fitting():
    explainer = ax.LMACZS(band_clap(separate=False, prompts=["low", "middle"]), width=8)
    two = [(part[kinds < 2], kinds[kinds < 2]) for part, kinds in batches()]
    explainer.fit(two, **LONG)
    kept, inside = shares(explainer), mixtures()[1]
    assert (kept[inside[:, 2], 2, 2] > 0.5).all()
    assert kept[inside[:, 2], 2, :2].max() < 0.05
    phrase = explainer.explain(mixtures()[0], "tones in the high band")
    torch.testing.assert_close(phrase.mask, explainer.explain(mixtures()[0], "high").mask, rtol=0, atol=1e-5)
    assert phrase.labels == ("low", "middle", "tones in the high band")
