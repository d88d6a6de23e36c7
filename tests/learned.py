"""Learned explainers that have learnt nothing, and a step of theirs."""

import networks
import torch


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
