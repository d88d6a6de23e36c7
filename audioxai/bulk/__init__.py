"""Data sets and long recordings that do not fit into memory, and the processes that share them out; loaded on use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audioxai.bulk.dataset import explain_dataset, read_dataset

__all__ = ["explain_dataset", "read_dataset"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from audioxai.bulk import dataset

    return getattr(dataset, name)
