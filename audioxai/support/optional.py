"""Optional packages, imported on use."""

from __future__ import annotations

import importlib
from typing import Any

from audioxai.errors import MissingDependencyError

__all__ = ["optional_import"]


def optional_import(module: str, name: str | None = None, *, extra: str) -> Any:
    """A module, or the object ``name`` of it.

    Raises:
        MissingDependencyError: it is absent, or installed and broken; the error names the extra that brings it.
    """
    package = module.split(".")[0]
    try:
        found = importlib.import_module(module)
        return found if name is None else getattr(found, name)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise _broken(package, error) from error
        raise MissingDependencyError(f"{package} is not installed; pip install 'audioxai[{extra}]'") from error
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise _broken(package, error) from error


def _broken(package: str, error: Exception) -> MissingDependencyError:
    return MissingDependencyError(f"{package} is installed but does not load ({error}); `audioxai doctor` says why")
