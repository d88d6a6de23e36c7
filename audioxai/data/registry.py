"""Every data set of the benchmark by name, and how each is divided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audioxai.data.clips import LabelledClips
from audioxai.support.registry import add_named

__all__ = ["DATA_SETS", "Reader", "Split", "register", "split_by_folds"]


@dataclass(frozen=True)
class Split:
    """A data set, divided.

    Args:
        train: clips that networks and explainers learn from.
        test: clips that are explained; no network has seen them.
        others: clips that contaminate the mixtures, not in ``test``.
        folds: how the clips are divided, in words.
        published: its name in published tables, if there are any to stand beside.
    """

    train: LabelledClips
    test: LabelledClips
    others: LabelledClips
    folds: str
    published: str | None = None


#: Takes the folder, and ``sample_rate``, ``seconds``, ``cache`` and ``skip_bad`` of the clips; where labels are the
#: caller's to give, also ``labels``, a table.
Reader = Callable[..., Split]

#: Name to reader. The package's own come from the files that ``audioxai/data/__init__.py`` imports.
DATA_SETS: dict[str, Reader] = {}


def register(name: str) -> Callable[[Reader], Reader]:
    """Decorator of a reader, which makes its data set one of ``audioxai benchmark``.

    Args:
        name: such as ``"esc50"``: lower-case letters, digits, ``+``, ``-`` and ``.``.

    Raises:
        ConfigError: a name that cannot be typed, or a name or reader that is registered already.
    """

    def known(reader: Reader) -> Reader:
        add_named(DATA_SETS, name, reader, "data set")
        return reader

    return known


def split_by_folds(
    read: Callable[[Sequence[int]], LabelledClips],
    *,
    train: Sequence[int],
    test: int,
    others: int,
    published: str | None = None,
) -> Split:
    """Whole folds for each purpose.

    Args:
        read: folds to their clips.
        train: folds in a row.
        test: fold to explain.
        others: fold that contaminates it, and is for choosing settings.
        published: see :class:`Split`.
    """
    words = f"trained on folds {train[0]} to {train[-1]}, explained fold {test}, contaminated by fold {others}"
    return Split(read(train), read([test]), read([others]), words, published)
