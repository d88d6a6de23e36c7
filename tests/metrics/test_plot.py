"""Pictures of scores and of randomised networks: what is drawn is what was measured."""

import math

import pytest
import torch

from audioxai.errors import ConfigError, InputError
from audioxai.metrics import ImpossibleScoresError, Randomisation, Results
from audioxai.metrics.plot import plot_randomisation, plot_results
from audioxai.report.plot import figure_png


def results():
    return Results(
        {
            "one": {"AD": torch.tensor([10.0, 20.0, 60.0]), "MM": torch.tensor([0.1, 0.2, 0.3])},
            "two": {"AD": torch.tensor([5.0, 5.0, 5.0])},
        }
    )


def curves(**similarity):
    found = {"SSIM": torch.tensor([[1.0, 1.0], [0.5, 0.7]]), "Spearman": torch.tensor([[1.0, 1.0], [0.2, math.nan]])}
    return Randomisation("cam", ("head",), "top_down", found | similarity)


def test_means_and_intervals_are_drawn():
    made = results()
    figure = plot_results(made)
    shown = [panel for panel in figure.axes if panel.get_visible()]
    assert [panel.get_title() for panel in shown] == ["AD ↓", "MM"]
    lines = [
        line.get_xdata().tolist() if hasattr(line.get_xdata(), "tolist") else list(line.get_xdata())
        for line in shown[0].lines
    ]
    assert lines[0] == pytest.approx(list(made.interval("one", "AD")))
    assert lines[1] == pytest.approx([30.0])
    assert [label.get_text() for label in shown[0].get_yticklabels()] == ["one", "two"]
    assert len(shown[1].lines) == 2  # "two" has no MM
    assert figure_png(figure).startswith(b"\x89PNG")
    assert len(made.plot(["MM"]).axes) == 1


def test_what_cannot_be_drawn():
    with pytest.raises(InputError, match="no scores"):
        plot_results(Results())
    with pytest.raises(ConfigError, match="metric 'AG'; nearest: 'AD'"):
        plot_results(results(), ["AG"])
    with pytest.raises(ImpossibleScoresError, match="AD outside"):
        plot_results(Results({"one": {"AD": torch.tensor([101.0])}}))
    with pytest.raises(InputError, match="nothing to draw"):
        plot_randomisation({})
    other = Randomisation("cam", ("tail",), "top_down", curves().similarity)
    with pytest.raises(ConfigError, match="'b' was randomised over other layers"):
        plot_randomisation({"a": curves(), "b": other})


def test_curves_are_drawn_and_constant_masks_counted():
    figure = plot_randomisation({"GradCAM": curves(), "other": curves(Spearman=torch.ones(2, 2))})
    ssim, spearman = figure.axes
    assert list(ssim.lines[0].get_ydata()) == pytest.approx([1.0, 0.6])
    assert list(spearman.lines[0].get_ydata()) == pytest.approx([1.0, 0.2])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["GradCAM\n(1 of 4 constant)", "other"]
    assert [tick.get_text() for tick in ssim.get_xticklabels()] == ["none", "head"]
    assert figure_png(curves().plot()).startswith(b"\x89PNG")
