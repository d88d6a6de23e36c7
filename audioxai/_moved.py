"""Import paths of earlier versions that lead to where things are now."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MODULES", "install"]

#: Modules of the package: where they were, and where they are.
MODULES = {
    "audio": "sound.files",
    "classifier": "classifiers.base",
    "contrastive": "training.contrastive",
    "dataset": "bulk.dataset",
    "dsp": "sound.dsp",
    "explainers.normalise": "masking.attribution_to_mask",
    "explainers.streaming": "bulk.streaming",
    "explanation": "explainers.explanation",
    "folder": "data.class_folders",
    "frontends": "sound.frontends",
    "inputs": "sound.inputs",
    "kaldi": "sound.kaldi",
    "latents": "classifiers.latents",
    "losses": "training.losses",
    "loudness": "sound.loudness",
    "masks": "bulk.mask_files",
    "metrics.listening": "listening.statistics",
    "plot": "report.plot",
    "plot_metrics": "metrics.plot",
    "recipes": "training.recipes",
    "report.listening": "listening.page",
    "report.rating_tables": "listening.tables",
    "report.ratings": "listening.ratings",
    "sequences": "classifiers.sequences",
    "spaces": "masking.spaces",
    "store": "classifiers.saving",
    "targets": "classifiers.targets",
    "zero_shot": "classifiers.zero_shot",
}

# Names that a package gave out, and the modules that hold them.
_NAMES = {
    "nn": {"fit_filterbank": "training.filterbank"},
    "report": {"listening_results": "listening", "listening_test": "listening"},
}


class _Moved(MetaPathFinder, Loader):
    """Loads an old path as the module that it became: one module under two names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "audioxai" and name in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"audioxai.{MODULES[spec.name.partition('.')[2]]}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state  # its own, which the import has just replaced


def install() -> None:
    """Let the old paths be imported; nothing is loaded before somebody does."""
    sys.meta_path.append(_Moved())
    for package, names in _NAMES.items():
        module = importlib.import_module(f"audioxai.{package}")
        module.__getattr__ = functools.partial(_find, module.__name__, names)  # type: ignore[method-assign]


def _find(package: str, names: dict[str, str], name: str) -> Any:
    if name not in names:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"audioxai.{names[name]}"), name)
