"""The methods of a benchmark, and how each is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ConfigError, nearest
from audioxai.explainers import L2I, LMAC, LMACTD, LMACZS, Explainer, LearnedExplainer
from audioxai.explainers.registry import EXPLAINERS

__all__ = ["CONTROLS", "METHODS", "Method", "choose_methods"]


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    Args:
        key: its name on the command line.
        name: its name in tables.
        explainer: its class.
        published: the setting behind the published tables, quirks included.
        options: of the class.
        fitting: options of its fit, or of its fine-tuning.
        start: key of the method whose fit it goes on from: fine-tuned for a quarter of the passes, or merely read out
            with other options.
        heavy: only where it is named; ``"all"`` leaves it out.
        passes: of its fit, for each pass of the other methods'.
        fitted: one that learns; otherwise it explains with the weights that it comes with.
    """

    key: str
    name: str
    explainer: type[Explainer]
    published: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    fitting: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    heavy: bool = False
    passes: int = 1
    fitted: bool = True

    @property
    def learned(self) -> bool:
        """Whether it is fitted, once per seed."""
        return self.fitted and issubclass(self.explainer, LearnedExplainer)

    def build(self, classifier: AudioClassifier, space: str, seed: int = 0) -> Explainer:
        """A fresh explainer for one space."""
        if self.published:
            return self.explainer.reference(classifier, space=space, seed=seed, **self.options)
        return self.explainer(classifier, space=space, scale="magnitude", seed=seed, **self.options)

    def identity(self, space: str, seed: int) -> dict[str, Any]:
        """What decides its masks, besides the classifier and what it was fitted on, as JSON types."""
        known = {"method": self.key, "space": space, "seed": seed, "options": self.options}
        known |= {"fitting": self.fitting} if self.fitting else {}
        return known | ({"passes": self.passes} if self.passes > 1 else {})

    def learn(self, explainer: LearnedExplainer, loader: Any, *, epochs: int, **training: Any) -> None:
        """Fit a fresh explainer, fine-tune that of :attr:`start`, or leave it as it is."""
        if self.start is None:
            explainer.fit(loader, epochs=self.passes * epochs, **self.fitting, **training)
        elif self.fitting:
            explainer.finetune(loader, epochs=max(1, epochs // 4), **self.fitting, **training)  # type: ignore[attr-defined]


#: In every table, whatever is asked for: what a mask that knows nothing scores.
CONTROLS = ("all-ones", "random", "energy")

#: What learned explainers are compared as; one that has no entry here is a row by itself.
_VARIANTS = (
    Method("lmac-latents", "L-MAC (latents alone)", LMAC, options={"evidence": False, "mixing": 0.0}),
    Method("lmac-general", "L-MAC (general)", LMAC, fitted=False),
    Method("lmac", "L-MAC (evidence)", LMAC, options={"decoder_name": "evidence"}),
    *(
        Method(f"lmac-ft-{cth}", f"L-MAC FT (CTH {cth})", LMAC, fitting={"cth": cth, "lr": 1e-3}, start="lmac")
        for cth in (0.6, 0.7)
    ),
    # LMAC-TD is scored by its sounds; these are the same masks as above, scored likewise.
    *(
        Method(f"{key}-heard", f"{name}, as heard", LMAC, options={"heard": True}, start=key, heavy=True)
        for key, name in (("lmac", "L-MAC (evidence)"), ("lmac-ft-0.6", "L-MAC FT (CTH 0.6)"))
    ),
    # What cannot be told which of two sounds is meant learns nothing from mixtures.
    Method("lmac-td-0", "LMAC-TD (alpha 0)", LMACTD, options={"alpha": 0.0, "mixing": 0.0}, heavy=True, passes=3),
    *(
        Method(
            f"lmac-td-{alpha:g}",
            f"LMAC-TD (alpha {alpha:g})",
            LMACTD,
            options={"alpha": alpha},
            heavy=True,
            passes=3,
        )
        for alpha in (0.75, 1.0)
    ),
    *(
        Method(
            "lmac-zs" if form == "evidence+gate" else f"lmac-zs-{form}",
            "LMAC-ZS" if form == "evidence+gate" else f"LMAC-ZS ({form})",
            LMACZS,
            options={"conditioning": form},
            heavy=True,
        )
        for form in ("evidence+gate", "evidence", "film", "concat", "gate")
    ),
    Method("lmac-zs/published", "LMAC-ZS (published)", LMACZS, published=True, heavy=True),
    Method("l2i-0.2", "L2I (RTH 0.2)", L2I, options={"threshold": 0.2}),
    Method("l2i-0.4", "L2I (RTH 0.4)", L2I, options={"threshold": 0.4}, start="l2i-0.2"),
    Method(
        "lmac/published-narrow",
        "L-MAC (published, 32 channels)",
        LMAC,
        published=True,
        options={"width": 32},
        fitting={"lr": 1e-3},
        heavy=True,
    ),
    Method("lmac/published", "L-MAC (published)", LMAC, published=True, heavy=True),
)


class _Methods(Mapping[str, Method]):
    """Made of what is registered whenever it is read, so that an explainer registered later is a row as well."""

    def _rows(self) -> dict[str, Method]:
        plain = {key: Method(key, kind.__name__, kind) for key, kind in EXPLAINERS.items()}
        free = [plain[key] for key in CONTROLS] + [m for m in plain.values() if not (m.learned or m.key in CONTROLS)]
        published = [
            Method(f"{m.key}/published", f"{m.name} (published)", m.explainer, published=True)
            for m in free
            if m.explainer._published is not None and m.key not in CONTROLS
        ]
        compared = {m.explainer for m in _VARIANTS}
        others = [m for m in plain.values() if m.learned and m.explainer not in compared]
        rows = {m.key: m for m in _VARIANTS}
        for method in (*free, *published, *others):
            if method.key in rows:
                raise ConfigError(
                    f"{method.explainer.__name__} is registered as {method.key!r}, which is a row of the benchmark "
                    f"already, {rows[method.key].name}; register it by another name"
                )
        return {m.key: m for m in (*free, *published, *others)} | rows

    def __getitem__(self, key: str) -> Method:
        return self._rows()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows())

    def __len__(self) -> int:
        return len(self._rows())


#: Methods by key, in the order of the tables.
METHODS: Mapping[str, Method] = _Methods()


def choose_methods(asked: str | Sequence[str]) -> list[Method]:
    """Methods by key, with the controls, in the order of the tables; ``"all"`` adds every one that is not heavy.

    Raises:
        ConfigError: an unknown key, with the nearest ones.
    """
    keys = [asked] if isinstance(asked, str) else list(asked)
    for key in keys:
        if key not in METHODS and key != "all":
            raise ConfigError(f"method {key!r} is not known; the nearest are {nearest(key, METHODS)}")
    known = METHODS.items()
    return [m for key, m in known if key in keys or key in CONTROLS or ("all" in keys and not m.heavy)]
