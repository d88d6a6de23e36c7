"""Windows of one length: clips repeated or cut into them, and maps laid back on the clip."""

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from audioxai.adapters.windows import WindowedLogMel, WindowedTower, Windows
from audioxai.errors import ConfigError
from audioxai.sound.dsp import STFT

FILLS = ["repeatpad", "repeat", "pad"]


@pytest.mark.parametrize(
    ("fill", "expected"),
    [("repeatpad", [1, 2, 3, 1, 2, 3, 0, 0]), ("repeat", [1, 2, 3, 1, 2, 3, 1, 2]), ("pad", [1, 2, 3, 0, 0, 0, 0, 0])],
)
def test_short_clips_fill_a_window(fill, expected):
    clip = torch.tensor([[1.0, 2.0, 3.0]])
    assert Windows(8, fill).cut(clip).tolist() == [[expected]]


@given(st.integers(1, 20), st.integers(1, 70))
def test_long_clips_are_covered_from_end_to_end(size, samples):
    windows = Windows(size)
    cut = windows.cut(torch.arange(1.0, samples + 1)[None])[0]
    assert cut.shape == (max(1, -(-samples // size)), size)
    if samples >= size:
        assert set(cut.flatten().tolist()) == set(range(1, samples + 1))
        assert (cut.diff(dim=1) == 1).all()


@given(st.integers(1, 12), st.integers(1, 60), st.integers(1, 100), st.sampled_from(FILLS))
def test_each_step_hears_its_part_of_the_clip(steps, size, samples, fill):
    windows = Windows(size, fill)
    heard = windows.heard(samples, steps)
    if samples == size:
        assert heard is None
        return
    expected = oracles.heard_steps(size, fill, windows.starts(samples), samples, steps)
    assert heard.shape[0] == len(expected)
    assert [row.nonzero()[:, 0].tolist() for row in heard] == [[] if place is None else [place] for place in expected]
    assert (heard.sum(0) > 0).all() or samples < size  # a copy shorter than a step may fall between two


class Blocks(WindowedTower):
    """Two layers over windows (R, N, M), whose outputs are maps as they are."""

    def __init__(self, windows: Windows):
        torch.manual_seed(0)
        first, second = (
            nn.Conv2d(1, 3, 3, padding=1),
            nn.Sequential(nn.Tanh(), nn.Conv2d(3, 4, 3, padding=1), nn.Tanh()),
        )
        super().__init__([first, second], windows)
        self.first, self.second = first, second

    def embed(self, bands):
        return self.second(self.first(bands[:, None].transpose(2, 3))).flatten(2).mean(2)

    def to_map(self, output):
        return output

    def from_map(self, maps, output):
        return maps


def features(windows: Windows, samples: int, clips: int = 2) -> torch.Tensor:
    """With one frame a sample, and two bands."""
    cut = windows.cut(torch.randn(clips, samples, generator=torch.Generator().manual_seed(samples)))
    return WindowedLogMel.signed(torch.stack([cut, cut.square()], 3), samples)


def reading(tower: nn.Module, x: torch.Tensor, layer: str, put=None):
    """Output of the tower and of a layer, which is replaced by ``put`` of it."""
    seen = {}

    def hook(_module, _inputs, output):
        seen["map"] = output if put is None else put(output)
        return seen["map"].clone()

    handle = tower.get_submodule(layer).register_forward_hook(hook)
    try:
        return tower(x), seen["map"]
    finally:
        handle.remove()


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("samples", [3, 5, 8, 11, 16, 20])
@pytest.mark.parametrize("layer", ["maps.0", "maps.1"])
def test_reading_a_map_changes_nothing_and_its_gradient_is_exact(samples, fill, layer):
    windows = Windows(8, fill)
    tower = Blocks(windows)
    x = features(windows, samples).requires_grad_()
    plain = tower(x)
    (before,) = torch.autograd.grad(plain[:, 0].sum(), x)
    read, shown = reading(tower, x, layer)
    assert torch.equal(read, plain)
    (after,) = torch.autograd.grad(read[:, 0].sum(), x, retain_graph=True)
    assert torch.allclose(after, before, atol=1e-6)
    assert shown.shape == (2, 3 + (layer == "maps.1"), 2, max(1, samples))
    # The gradient to the map is that of a change to every copy alike.
    leaf = shown.detach().clone().requires_grad_()
    output, _ = reading(tower, x.detach(), layer, put=lambda _: leaf)
    (gradient,) = torch.autograd.grad(output[:, 0].sum(), leaf)
    direction = torch.randn(shown.shape, generator=torch.Generator().manual_seed(1))

    def moved(step):
        return reading(tower, x.detach(), layer, put=lambda m: m + step * direction)[0][:, 0].sum().double()

    slope = (moved(1e-2) - moved(-1e-2)) / 2e-2
    assert float(slope.detach()) == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=2e-4)


def test_maps_of_copies_are_averaged_and_windows_laid_side_by_side():
    windows = Windows(8)
    tower = Blocks(windows)
    x = features(windows, 4)
    whole = tower.first(x[:, 0, :-1, :][:, None].transpose(2, 3))
    _, shown = reading(tower, x, "maps.0")
    assert torch.allclose(shown, (whole[..., :4] + whole[..., 4:]) / 2, atol=1e-6)
    x = features(windows, 16)
    both = [tower.first(x[:, w, :-1, :][:, None].transpose(2, 3)) for w in (0, 1)]
    _, shown = reading(tower, x, "maps.0")
    assert torch.allclose(shown, torch.cat(both, 3), atol=1e-6)


def test_embeddings_of_windows_are_averaged():
    windows = Windows(8)
    tower = Blocks(windows)
    x = features(windows, 20)
    rows = torch.stack([nn.functional.normalize(tower.embed(x[:, w, :-1]), dim=1) for w in range(3)], 1)
    assert torch.allclose(tower(x), rows.mean(1), atol=1e-6)


def test_bad_windows_and_filters():
    for wrong in ((0, "pad"), (5, "tile")):
        with pytest.raises(ConfigError, match="windows need a size of at least 1"):
            Windows(*wrong)
    with pytest.raises(ConfigError, match=r"mel filters of shape \(3, 4\) do not fit; \(F, M\) is \(513, 8\)"):
        WindowedLogMel(8000, windows=Windows(8), stft=STFT(1024), bank=torch.ones(3, 4), n_mels=8)
