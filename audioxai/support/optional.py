"""Packages that are imported on use, and what mends them where they are absent or broken."""

from __future__ import annotations

import importlib
from typing import Any

from audioxai.errors import MissingDependencyError

__all__ = ["FIXES", "optional_import", "required_import"]

#: What mends a required package that is installed and does not load.
FIXES = {
    "torchaudio": "take torch and torchaudio from one index: pip install --force-reinstall torch torchaudio, "
    "and for a CPU-only torch both with --index-url https://download.pytorch.org/whl/cpu",
}


def optional_import(module: str, name: str | None = None, *, extra: str) -> Any:
    """A module, or the object ``name`` of it.

    Raises:
        MissingDependencyError: it is absent, or installed and broken; the error names the extra that brings it.
    """
    return _import(module, name, f"pip install 'audioxai[{extra}]'", "`audioxai doctor` says why")


def required_import(module: str, name: str | None = None) -> Any:
    """A module, or the object ``name`` of it, of a package that comes with the toolkit but may not load.

    Raises:
        MissingDependencyError: it is absent, or installed and broken; the error names the fix.
    """
    package = module.split(".")[0]
    install = f"pip install {package}"
    return _import(module, name, FIXES.get(package, install), FIXES.get(package, "`audioxai doctor` says why"))


def _import(module: str, name: str | None, install: str, mend: str) -> Any:
    package = module.split(".")[0]
    try:
        found = importlib.import_module(module)
        return found if name is None else getattr(found, name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise MissingDependencyError(f"{package} is not installed; {install}") from error
        raise MissingDependencyError(f"{package} is installed but does not load ({error}); {mend}") from error
