"""What explainers differentiate as a module of its own, as other libraries want it."""

from torch import nn


class Bare(nn.Module):
    """Values of the space, with an axis for channels if asked, to logits; it holds the network for its activations."""

    def __init__(self, explainer, analysis, channel=False):
        super().__init__()
        self.network, self.space = explainer.classifier.network, explainer.space
        self.analysis, self.channel = analysis, channel

    def forward(self, values):
        return self.space.predict(values[:, 0] if self.channel else values, self.analysis)
