"""Which axis of a layer is time, where the network takes one length only and the front end is the user's own."""

from __future__ import annotations

import networks
import pytest
import torch
from torch import Tensor, nn

import audioxai as ax
from audioxai.errors import ClassifierError

RATE = 8000
CLIPS = networks.clips(3, RATE)


class Own(nn.Module):
    """A front end that does not say where its time is."""

    def __init__(self, time_first: bool, scaled: bool) -> None:
        super().__init__()
        self.log_mel = ax.LogMel(RATE, 32, layout="B1MN")
        self.time_first, self.scaled = time_first, scaled

    def forward(self, waveform: Tensor) -> Tensor:
        maps = self.log_mel(waveform)
        if self.scaled:
            maps = (maps - maps.mean((1, 2, 3), keepdim=True)) / maps.std((1, 2, 3), keepdim=True)
        return maps.transpose(2, 3) if self.time_first else maps


class OneLength(nn.Module):
    """A network whose head takes maps of one size; with time first, the same one turned on its side."""

    def __init__(self, time_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.time_first = time_first
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, (3, 5), 2), nn.ReLU(), nn.Conv2d(8, 16, (3, 5), 2), nn.ReLU()
        )  # fmt: skip
        self.head = nn.Linear(16 * 7 * 19, 4)
        if time_first:
            for layer in self.layers:
                if isinstance(layer, nn.Conv2d):
                    layer.weight = nn.Parameter(layer.weight.detach().transpose(2, 3).contiguous())

    def forward(self, maps: Tensor) -> Tensor:
        found = self.layers(maps)
        return self.head((found.transpose(2, 3) if self.time_first else found).flatten(1))


class Patches(nn.Module):
    """A transformer over patches of a map of one size, read row by row."""

    def __init__(self, patch: tuple[int, int]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(1, 16, patch, patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, (32 // patch[0]) * (87 // patch[1]), 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, maps: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(maps).flatten(2).transpose(1, 2) + self.position).mean(1))


class Recurrent(nn.Module):
    """The states of a GRU at every frame, each with weights of its own."""

    def __init__(self, both_ways: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(32, 16, batch_first=True, bidirectional=both_ways)
        self.head = nn.LazyLinear(4)

    def forward(self, maps: Tensor) -> Tensor:
        return self.head(self.gru(maps[:, 0].transpose(1, 2))[0].flatten(1))


def classifier(network: nn.Module, time_first: bool = False, scaled: bool = False, **options: object):
    made = ax.AudioClassifier(network, sample_rate=RATE, frontend=Own(time_first, scaled), **options)
    made(CLIPS)  # lazy layers
    return made.eval()


@pytest.mark.parametrize("scaled", [False, True])
def test_a_network_turned_on_its_side_has_the_same_masks(scaled):
    masks = [ax.GradCAM(classifier(OneLength(first), first, scaled)).explain(CLIPS, 1).mask for first in (False, True)]
    assert masks[0].std() > 0.01
    torch.testing.assert_close(masks[0], masks[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("network", "layers"),
    [
        (lambda: Recurrent(False), [("gru", "tokens", 1)]),
        (lambda: Recurrent(True), [("gru", "tokens", 1)]),
        (lambda: Patches((32, 4)), [("layer", "tokens", 1)]),
        (lambda: Patches((8, 8)), [("embed", "map", 3)]),  # whose tokens run through time four times
    ],
)
def test_the_axis_that_follows_a_sound(network, layers, scaled):
    found = classifier(network(), scaled=scaled).latent_layers
    assert [(layer.name, layer.kind, layer.time_axis) for layer in found] == layers


def test_what_does_not_show_its_time_is_asked_for():
    with pytest.raises(ClassifierError, match=r"\(2, 40, 16\) does not show which of its axes is time.*pass layers="):
        classifier(Patches((8, 8)), layers=["layer"]).layers  # noqa: B018
    told = classifier(Patches((8, 8)), layers={"layer": lambda x: x.transpose(1, 2).unflatten(2, (4, 10))})
    assert ax.GradCAM(told).explain(CLIPS, 0).mask.isfinite().all()


def test_the_probe_leaves_the_network_as_it_was():
    made = classifier(OneLength(True), True)
    made.train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    made.layers  # noqa: B018
    assert made.training and torch.equal(torch.get_rng_state(), before)
    assert not any(module._forward_hooks for module in made.modules())
