"""The second stage of L-MAC: selection, guidance, pairs of clips, and what it does to sound."""

import networks
import numpy as np
import oracles
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError, InputError, NotFittedError
from audioxai.explainers.finetuning import FineTuning, clean_and_noisy

CLIPS = networks.clips(4, 2500)
NOISY = CLIPS + 0.1 * torch.randn(CLIPS.shape, generator=torch.Generator().manual_seed(3))
QUICK = {"epochs": 1, "progress": False}


@pytest.fixture(scope="module")
def fitted():
    return ax.LMAC(networks.log_mel_cnn(), width=8).fit([CLIPS], **QUICK)


def copy_of(fitted, tmp_path, **options):
    fitted.save_pretrained(tmp_path)
    return ax.LMAC.from_pretrained(tmp_path, classifier=fitted.classifier, **options)


def step(explainer, clean, noisy, stage):
    with explainer._untouched():
        found = explainer._finetuning_step(clean, noisy, stage)
    return {name: loss.detach() for name, loss in found.items()}


@pytest.mark.parametrize("scale", ["log1p", "magnitude"])
@pytest.mark.parametrize("guidance", ["binary", "norm"])
@pytest.mark.parametrize("space", ["stft", "mel"])
def test_the_loss_by_the_book(space, guidance, scale):
    explainer = ax.LMAC(networks.log_mel_cnn(), width=8, space=space, scale=scale).fit([CLIPS], **QUICK)
    classes = explainer.classifier(CLIPS).argmax(1)
    explanation = explainer.explain(NOISY, classes)
    analysis, clean = (explainer.space.analyse(x) for x in (NOISY, CLIPS))
    amplitude = explainer.space.magnitude(clean).numpy()
    kept = (explainer.space.gain(explanation.mask, analysis) * explainer.space.magnitude(analysis)).numpy()
    cosines = [oracles.similarity(k, c) for k, c in zip(kept, amplitude, strict=True)]
    cth = float(np.median(cosines))  # some clips are selected, some are not
    selected = np.array(cosines) >= cth
    assert 0 < selected.sum() < len(CLIPS)
    found = step(explainer, CLIPS, NOISY, FineTuning(lambda_g=3.0, cth=cth, guidance=guidance))
    np.testing.assert_allclose(found["cosines"], cosines, rtol=1e-4)
    assert found["selected"] == pytest.approx(selected.mean())
    masks = explanation.mask.numpy().astype(np.float64)
    guides = [
        oracles.binary_guidance(m, c) if guidance == "binary" else oracles.norm_guidance(k, c)
        for m, k, c in zip(masks, kept, amplitude, strict=True)
    ]
    assert found["guide"] == pytest.approx(np.mean(guides * selected), rel=1e-3)
    mask = np.mean([m.mean() for m in masks] * ~selected)
    assert found["mask"] == pytest.approx(mask, rel=1e-3)
    scores = [
        -explainer.lambda_in * np.log(k[c]) - explainer.lambda_out * np.log(1 - r[c])
        for k, r, c in zip(
            explanation.scores.kept.tolist(), explanation.scores.removed.tolist(), classes.tolist(), strict=True
        )
    ]
    total = np.mean(scores) + explainer.lambda_s * mask + 3.0 * np.mean(guides * selected)
    assert found["loss"] == pytest.approx(total, rel=1e-3)


def test_without_evidence_the_noisy_clips_class_is_explained(fitted):
    explainer = ax.LMAC(networks.log_mel_cnn(), width=8, evidence=False).fit([CLIPS], **QUICK)
    found = step(explainer, CLIPS.roll(1, 0), NOISY, FineTuning(cth=0.0))
    scores = explainer.explain(NOISY).scores
    own = scores.input.argmax(1)
    assert found["in"] == pytest.approx(-float(scores.kept.gather(1, own[:, None]).log().mean()), rel=1e-3)


# Pairs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "batch",
    [(CLIPS, NOISY), [CLIPS, NOISY], {"clean": CLIPS, "noisy": NOISY}, (CLIPS.numpy(), NOISY.numpy())],
)
def test_pairs_are_taken_as_given(batch):
    clean, noisy = clean_and_noisy(batch, networks.log_mel_cnn())
    assert torch.equal(clean, CLIPS)
    assert torch.equal(noisy, NOISY)


@pytest.mark.parametrize("labels", [torch.arange(4), torch.eye(4), None])
def test_clean_clips_alone_are_mixed_with_one_another(labels):
    classifier = networks.log_mel_cnn()
    classes = classifier(CLIPS).argmax(1)
    with classifier.frozen():
        clean, noisy = clean_and_noisy(CLIPS if labels is None else (CLIPS, labels), classifier)
    assert torch.equal(clean, CLIPS)
    added = (noisy - clean).norm(dim=1) / clean.norm(dim=1)
    different = classes != classes.roll(1)
    assert (added[different] > 10 ** (-5.1 / 20)).all()
    assert (added[~different] == 0).all()


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((CLIPS, NOISY[:, :-10]), r"must match; got \(4, 2500\) and \(4, 2490\)"),
        ({"clean": CLIPS, "noisy": NOISY[:2]}, r"must match; got \(4, 2500\) and \(2, 2500\)"),
        ({"clean": CLIPS}, "needs both; got clean"),
        ({"clean": CLIPS, "noisy": NOISY * float("nan")}, "NaN"),
        ({"sound": CLIPS}, "needs one of the keys"),
        ([], "a batch is"),
    ],
)
def test_what_is_no_pair(fitted, tmp_path, batch, words):
    explainer = copy_of(fitted, tmp_path)
    before = {name: value.clone() for name, value in explainer.decoder_.state_dict().items()}
    with pytest.raises(InputError, match=words):
        explainer.finetune([{"clean": CLIPS, "noisy": NOISY}, batch], **QUICK)
    assert all(torch.equal(before[name], value) for name, value in explainer.decoder_.state_dict().items())
    assert explainer.finetuned_ is None


# The stage ------------------------------------------------------------------------------------------------------------


def test_not_before_the_first_stage():
    with pytest.raises(NotFittedError, match=r"second stage: call \.fit\(loader\) first"):
        ax.LMAC(networks.log_mel_cnn()).finetune([(CLIPS, NOISY)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cth": 1.2}, "cth=1.2"),
        ({"cth": float("nan")}, "cth=nan"),
        ({"lambda_g": -1}, "lambda_g=-1 weighs"),
        ({"guidance": "soft"}, "guidance='soft'"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_options_out_of_range(fitted, tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        copy_of(fitted, tmp_path).finetune([(CLIPS, NOISY)], **QUICK, **options)
    fresh = ax.LMAC(networks.log_mel_cnn(), width=8)
    with pytest.raises(ConfigError, match=words):
        fresh.fit([CLIPS], finetune=options, **QUICK)
    assert fresh.decoder_ is None  # refused before the first stage has cost anything


def test_nothing_selected_is_said_with_the_cosines(fitted, tmp_path):
    explainer = copy_of(fitted, tmp_path)
    with pytest.warns(UserWarning, match=r"no clip was selected: cosines .* were 0\.\d\d to .*cth=1\.0; lower it"):
        explainer.finetune([(CLIPS, NOISY)], cth=1.0, **QUICK)
    assert explainer.history_[-1]["selected"] == 0


def test_it_goes_on_from_the_first_stage_and_is_saved(fitted, tmp_path):
    explainer = copy_of(fitted, tmp_path / "one")
    explainer.finetune([(CLIPS, NOISY)], cth=0.0, lambda_g=16, guidance="binary", epochs=2, progress=False)
    assert len(explainer.history_) == 3
    assert explainer.history_[-1]["selected"] == 1
    assert 0 < explainer.history_[-1]["cosine"] <= 1
    assert not any(p.requires_grad for p in explainer.decoder_.parameters())
    again = copy_of(explainer, tmp_path / "two")
    assert again.finetuned_ == {"lambda_g": 16, "cth": 0.0, "guidance": "binary", "epochs": 2}
    assert torch.equal(again.explain(CLIPS).mask, explainer.explain(CLIPS).mask)
    assert not torch.equal(fitted.explain(CLIPS).mask, explainer.explain(CLIPS).mask)


def test_both_stages_in_one_call_resume_from_a_checkpoint(tmp_path):
    def fit():
        explainer = ax.LMAC(networks.log_mel_cnn(), width=8)
        return explainer.fit([CLIPS], finetune={"cth": 0.1}, epochs=4, progress=False, checkpoint=tmp_path / "run")

    first, second = fit(), fit()
    assert first.finetuned_ == {"lambda_g": 4.0, "cth": 0.1, "guidance": "norm", "epochs": 1}
    assert len(first.history_) == 5
    for name, value in first.decoder_.state_dict().items():
        assert torch.equal(value, second.decoder_.state_dict()[name])
    assert first.fit([CLIPS], **QUICK).finetuned_ is None


def test_what_is_kept_comes_closer_to_the_clean_clip(fitted, tmp_path):
    explainer = copy_of(fitted, tmp_path)
    classes = explainer.classifier(CLIPS).argmax(1)

    def distance():
        kept = explainer.explain(NOISY, classes).waveform
        return float((kept - CLIPS).square().sum() / CLIPS.square().sum())

    before = distance()
    explainer.finetune([(CLIPS, NOISY)] * 8, cth=0.0, lambda_g=64, epochs=5, lr=5e-3, progress=False)
    assert distance() < 0.9 * before
