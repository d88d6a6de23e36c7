"""Every metric that a table can show: how it is computed, its direction, range and digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.targets import TargetLike
from audioxai.errors import ConfigError, InputError, nearest
from audioxai.explainers.base import Explainer
from audioxai.explainers.explanation import Explanation
from audioxai.masking.spaces import Analysis, Scale, Space, STFTSpace, make_space
from audioxai.metrics import functional as metric
from audioxai.metrics.curves import Predict

__all__ = ["GROUND_TRUTH", "METRICS", "SOUND", "STANDARD", "Case", "Metric", "asked_alike", "find_metrics", "space_of"]


@dataclass(frozen=True)
class Case:
    """What a metric may look at.

    Args:
        explanation: of B clips, each for one class.
        explainer: which made it, for the metrics that ask the network or the explainer more.
        stem: (B, T), the part of each clip that the explained class names, where it is known.
    """

    explanation: Explanation
    explainer: Explainer | None = None
    stem: Tensor | None = None

    @property
    def target(self) -> Tensor:
        """(B,) explained classes."""
        if self.explanation.target is None:
            raise InputError("metrics need one target class per clip; this explanation has another target")
        return self.explanation.target

    @cached_property
    def entropy(self) -> Tensor:
        """COMP, which is shown on two scales."""
        return metric.complexity(self.explanation.mask)

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Magnitudes of the stem and of everything else in the mask's space."""
        stem = _stem(self)
        if self.explainer is None:
            raise ConfigError("this metric needs the explainer, for its space")
        space, clips = self.explainer.space, self.explanation.input
        stem_part, other_part = (space.magnitude(space.analyse(part)) for part in (stem, clips - stem))
        return stem_part, other_part

    @cached_property
    def interference(self) -> tuple[Tensor, Tensor]:
        """SIR gain and kept share, of what the mask does to amplitudes."""
        parts = self.parts
        assert self.explainer is not None
        space = self.explainer.space
        gain = space.gain(self.explanation.mask, space.analyse(self.explanation.input))
        return metric.interference_gain(gain, *parts)

    def ask(self, classifier: AudioClassifier | None = None) -> tuple[Tensor, Predict]:
        """The clips' values, and the logits (R, K) for changed values (R, ...) of the clips ``rows`` (R,).

        Args:
            classifier: which is asked; default the explained one.
        """
        if self.explainer is None:
            raise ConfigError("this metric asks the network about more masks; give the explainer")
        size = self.explainer.max_batch
        network = asked_alike(self.explanation, classifier or self.explainer.classifier)
        if classifier is None:
            space = self.explainer.space.bind(network)
            analysis = space.analyse(self.explanation.input)
        else:
            space, analysis = space_of(self.explanation, network)

        def logits(values: Tensor, rows: Tensor) -> Tensor:
            with network.frozen(), torch.no_grad():
                parts = zip(torch.split(values, size), torch.split(rows, size), strict=True)
                return torch.cat([space.predict(some, analysis, clips) for some, clips in parts])

        return analysis.values, logits

    def predict(self, classifier: AudioClassifier | None = None) -> tuple[Tensor, Predict]:
        """As :meth:`ask`, with the probability (R,) of each clip's target in place of the logits."""
        values, logits = self.ask(classifier)
        assert self.explainer is not None
        network = classifier or self.explainer.classifier

        def probability(changed: Tensor, rows: Tensor) -> Tensor:
            probs = network.probabilities(logits(changed, rows))
            return probs.gather(1, self.target.to(probs.device)[rows][:, None])[:, 0]

        return values, probability


def asked_alike(explanation: Explanation, classifier: AudioClassifier) -> AudioClassifier:
    """The classifier to ask about an explanation's classes, which may be prompts.

    Raises:
        ConfigError: it numbers its classes in another way.
    """
    view, labels = classifier.for_targets([explanation.labels]), explanation.labels
    if view.labels is not None and labels is not None and view.labels != labels:
        raise ConfigError(
            f"the classifier's labels {list(view.labels)[:5]} are not those of the explanation, {list(labels)[:5]}; "
            "a judge must number the same classes alike, and after set_prompts explain again"
        )
    return view


def space_of(explanation: Explanation, classifier: AudioClassifier) -> tuple[Space, Analysis]:
    """The space of an explanation's masks for another classifier, and the clips in it.

    Raises:
        ConfigError: that classifier's front end gives another grid.
    """
    scale: Scale = "log1p" if explanation.scale == "log1p" else "magnitude"
    if explanation.space == "stft":
        space: Space = STFTSpace(classifier, scale, stft=explanation.stft)
    else:
        space = make_space(explanation.space, classifier, scale)
    analysis = space.analyse(explanation.input.to(classifier.device))
    if analysis.values.shape != explanation.mask.shape:
        raise ConfigError(
            f"the judge's {space.name} values {tuple(analysis.values.shape)} do not fit masks of "
            f"{tuple(explanation.mask.shape)}; use a judge with the same front end"
        )
    return space, analysis


@dataclass(frozen=True)
class Metric:
    """A metric of explanations.

    Args:
        name: its column in tables.
        compute: a :class:`Case` of B clips to one value a clip, (B,); NaN where the metric has none.
        direction: 1 higher is better, -1 lower is better, 0 neither.
        low: its least value.
        high: its largest value.
        digits: after the point, in tables.
    """

    name: str
    compute: Callable[[Case], Tensor]
    direction: int = 0
    low: float = -math.inf
    high: float = math.inf
    digits: int = 2


def _increase(case: Case) -> Tensor:
    p, kept, _ = case.explanation.scores
    return metric.average_increase(p, kept, case.target, multilabel=case.explanation.multilabel)


def _drop(case: Case, *, reference: bool = False) -> Tensor:
    p, kept, _ = case.explanation.scores
    if reference and case.explanation.multilabel:  # a softmax of sigmoids is nobody's convention
        return torch.full((len(p),), math.nan)
    return metric.average_drop(p, kept, case.target, reference=reference, multilabel=case.explanation.multilabel)


def _gain(case: Case) -> Tensor:
    p, kept, _ = case.explanation.scores
    return metric.average_gain(p, kept, case.target, multilabel=case.explanation.multilabel)


def _faithfulness(case: Case) -> Tensor:
    p, _, removed = case.explanation.scores
    return metric.faithfulness(p, removed, case.target, multilabel=case.explanation.multilabel)


def _fidelity(case: Case) -> Tensor:
    p, kept, _ = case.explanation.scores
    return metric.input_fidelity(p, kept, case.target, multilabel=case.explanation.multilabel)


def _published_sparseness(case: Case) -> Tensor:
    # Clip by clip: a figure that depends on the clips beside it cannot be averaged.
    return torch.cat([metric.sparseness(mask[None], reference=True) for mask in case.explanation.mask])


def _insertion(case: Case) -> Tensor:
    values, ask = case.predict()
    return metric.insertion_auc(ask, values, case.explanation.mask)


def _deletion(case: Case) -> Tensor:
    values, ask = case.predict()
    return metric.deletion_auc(ask, values, case.explanation.mask)


def _infidelity(case: Case) -> Tensor:
    """Over 16 draws in which half of the cells are silenced."""
    attribution = case.explanation.attribution
    if attribution is None:  # a mask is in no units of the score
        return torch.full((len(case.explanation),), math.nan)
    values, logits = case.ask()
    generator = torch.Generator().manual_seed(0)
    cells = values.shape[1:]  # the same cells for every clip, whatever the clips beside it
    silenced = torch.stack([torch.rand(cells, generator=generator) < 0.5 for _ in range(16)]).to(values)
    rows = torch.arange(len(values), device=values.device)

    def score(changed: Tensor) -> Tensor:
        found = logits(changed, rows)
        return found.gather(1, case.target.to(found.device)[:, None])[:, 0]

    return metric.infidelity(score, values, attribution, silenced[:, None] * values)


def _stem(case: Case) -> Tensor:
    if case.stem is None:
        raise ConfigError("this metric needs the known part of each clip; give batches with a 'stem' (B, T)")
    return case.stem.to(case.explanation.waveform.device)


def _artefacts(case: Case) -> Tensor:
    stem = _stem(case)
    return metric.si_sar(case.explanation.waveform, stem, case.explanation.input - stem)


def _sum_of_parts(case: Case) -> Tensor:
    explanation = case.explanation
    return metric.si_sdr(explanation.waveform + explanation.removed, explanation.input)


def _sensitivity(case: Case) -> Tensor:
    if case.explainer is None:
        raise ConfigError("max-sensitivity explains changed clips again; give the explainer")
    target: TargetLike = case.target
    if case.explanation.labels is not None:  # a prompt has no number in the classifier
        target = case.explanation.target_names
    return metric.max_sensitivity(case.explainer, case.explanation.input, target if case.explainer.any_target else None)


_ALL = (
    Metric("AI", _increase, 1, 0, 100, 1),
    Metric("AD", _drop, -1, 0, 100, 1),
    Metric("AG", _gain, 1, 0, 100, 1),
    Metric("FF", _faithfulness, 1, -1, 1),
    Metric("Fid-In", _fidelity, 1, 0, 1),
    Metric("SPS", lambda case: metric.sparseness(case.explanation.mask), 1, 0, 1),
    Metric("COMP", lambda case: case.entropy, -1, 0),
    Metric("COMP/ln n", lambda case: case.entropy / math.log(case.explanation.mask[0].numel()), -1, 0, 1),
    Metric("MM", lambda case: metric.mask_mean(case.explanation.mask), 0, 0, 1),
    Metric("ratio mask", lambda case: metric.ratio_mask_overlap(case.explanation.mask, *case.parts), 1, 0, 1),
    Metric("pointing", lambda case: metric.pointing_game(case.explanation.mask, *case.parts), 1, 0, 1),
    Metric("mask AUC", lambda case: metric.mask_auc(case.explanation.mask, *case.parts), 1, 0, 1),
    Metric("SIR gain", lambda case: case.interference[0], 1, digits=1),
    Metric("kept", lambda case: case.interference[1], 1, 0, 1),
    Metric("SI-SDR", lambda case: metric.si_sdr(case.explanation.waveform, _stem(case)), 1, digits=1),
    Metric("SI-SAR", _artefacts, 1, digits=1),
    Metric("energy", lambda case: metric.energy_share(case.explanation.waveform, case.explanation.input), 0, 0),
    Metric("sum SI-SNR", _sum_of_parts, 1, digits=1),
    Metric("insertion", _insertion, 1, 0, 1),
    Metric("deletion", _deletion, -1, 0, 1),
    Metric("infidelity", _infidelity, -1, 0),
    Metric("max-sensitivity", _sensitivity, -1, 0),
    Metric("AD published", lambda case: _drop(case, reference=True), -1, 0, 100 * (1 - math.exp(-1)), 1),
    Metric("SPS published", _published_sparseness, 1, 0, 1),
)


#: Every metric that is known by name.
METRICS = {entry.name: entry for entry in _ALL}
#: Shown when nothing else is asked for: the eight standard metrics, complexity on both scales.
STANDARD = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP", "COMP/ln n", "MM")
#: Shown beside them for clips whose explained part is known.
GROUND_TRUTH = ("ratio mask", "pointing", "mask AUC", "SIR gain", "kept", "SI-SDR", "SI-SAR")
#: Of what is heard, of any clip: how loud what is kept is, and whether kept and removed add up to the clip.
SOUND = ("energy", "sum SI-SNR")


def find_metrics(asked: Iterable[str | Metric]) -> list[Metric]:
    """Metrics by name, or given.

    Raises:
        ConfigError: an unknown name, two of one name, or none at all.
    """
    found = []
    for entry in asked:
        if not isinstance(entry, Metric) and entry not in METRICS:
            raise ConfigError(f"metric {entry!r} is not known; nearest: {nearest(str(entry), METRICS)}")
        found.append(entry if isinstance(entry, Metric) else METRICS[entry])
    names = [entry.name for entry in found]
    if not found or len(set(names)) < len(names):
        raise ConfigError(f"metrics={names} must name at least one metric, each once")
    return found
