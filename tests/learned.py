"""Learned explainers that have learnt nothing, and a step of theirs."""

import networks
import numpy as np
import torch

import audioxai as ax
from audioxai.metrics import evaluate


def fresh(kind, classifier=None, **options):
    """An explainer of a class, with a decoder that has learnt nothing."""
    explainer = kind(classifier or networks.log_mel_cnn(), **options)
    torch.manual_seed(0)
    with explainer._untouched():
        explainer.decoder_ = explainer._build().eval()
    return explainer


def step(explainer, clips):
    """The losses of one batch."""
    with explainer._untouched():
        torch.manual_seed(0)
        return {name: float(loss.detach()) for name, loss in explainer.training_step(clips).items()}


def shuffled(clips):
    """Batches of eight clips, in another order."""
    return list(clips[torch.randperm(len(clips), generator=torch.Generator().manual_seed(0))].split(8))


def beats_random(explainer, clips):
    """It is more faithful than a random mask, and changes no prediction."""
    results = evaluate([explainer, ax.RandomMask(explainer.classifier, scale="magnitude")], [clips])
    assert results.mean(explainer.name, "AD") < results.mean("RandomMask", "AD")
    assert results.mean(explainer.name, "FF") > results.mean("RandomMask", "FF")
    assert results.mean(explainer.name, "Fid-In") == 1


def losses_of_scores(result, bounded):
    """Mean losses of what is kept and of what is removed, from an explanation's probabilities."""
    rows = zip(result.target.tolist(), result.scores.kept.tolist(), result.scores.removed.tolist(), strict=True)
    pairs = [(k[c], r[c]) for c, k, r in rows]
    removed = [-np.log(1 - r) if bounded else np.log(r) for _, r in pairs]
    return {"in": np.mean([-np.log(k) for k, _ in pairs]), "out": np.mean(removed)}
