"""Public CNN14 weights in our :class:`CNN14`: the layouts of PANNs and of SpeechBrain. Nothing is unpickled."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from audioxai.errors import ConfigError, OutputError
from audioxai.nn.classifiers import CNN14
from audioxai.support.files import PathLike
from audioxai.support.options import at_least_one, one_of

__all__ = ["load_cnn14", "panns_names", "read_tensors", "some"]

_SHOWN = 3  # names listed in an error
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_COUNTER = "num_batches_tracked"  # plays no part in the forward pass, and old files lack it


@dataclass(frozen=True)
class _Layout:
    """How a file names the layers.

    Attributes:
        first: the batch norm over the mel bands.
        norm: a batch norm in a block, followed by 1 or 2.
        ignored: tensors of the file that are no part of the network.
        head: tensors of the head to ours; empty where the head has a file of its own.
    """

    first: str
    norm: str
    ignored: frozenset[str]
    head: Mapping[str, str]

    def names(self) -> dict[str, str]:
        """Their names of the trunk's tensors to ours."""
        layers = {self.first: "norm"}
        names = {}
        for i in range(6):
            for j in (1, 2):
                names[f"conv_block{i + 1}.conv{j}.weight"] = f"blocks.{i}.{3 * (j - 1)}.weight"
                layers[f"conv_block{i + 1}.{self.norm}{j}"] = f"blocks.{i}.{3 * (j - 1) + 1}"
        return names | {f"{theirs}.{k}": f"{ours}.{k}" for theirs, ours in layers.items() for k in _NORM}


_LAYOUTS = {
    "panns": _Layout(
        first="bn0",
        norm="bn",
        ignored=frozenset(
            (*(f"spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag")), "logmel_extractor.melW")
        ),
        head={
            f"{theirs}.{kind}": f"head.{ours}.{kind}"
            for theirs, ours in (("fc1", 1), ("fc_audioset", 4))
            for kind in ("weight", "bias")
        },
    ),
    "speechbrain": _Layout(first="norm0", norm="norm", ignored=frozenset(), head={}),
}


def panns_names() -> dict[str, str]:
    """PANNs' names of a CNN14's trunk to ours."""
    return _LAYOUTS["panns"].names()


def load_cnn14(
    path: PathLike,
    n_classes: int,
    *,
    layout: Literal["auto", "panns", "speechbrain"] = "auto",
    head: Literal["load", "fresh"] = "load",
    head_path: PathLike | None = None,
) -> CNN14:
    """A CNN14 with the weights of a public file, in evaluation mode; it maps (B, N, M) log-mels to (B, K) logits.

    The width and the mel bands M are the file's. PANNs' DecisionLevelMax files have the same names and another head,
    which nothing in them tells: take those with ``head="fresh"``. Front ends must compute what the weights were trained
    on::

        # PANNs Cnn14: M = 64, K = 527, several labels per clip
        LogMel(32000, 64, f_min=50, f_max=14000, mel_scale="slaney", norm="slaney", power=2, log="db",
               stft=STFT(1024, 1024, 320, pad_mode="reflect"))
        # SpeechBrain, as its L-MAC recipe uses it: M = 80
        LogMel(16000, 80, triangles="reference")

    Args:
        path: ``.safetensors``, or a file of ``torch.save`` that holds tensors alone. Of PANNs' files the entry
            ``"model"`` is read, without the constants of their front end: log-mels are made by ours.
        n_classes: classes K; that of the file if its head is loaded.
        layout: ``"panns"`` (``bn0``, ``conv_block1.bn1``), ``"speechbrain"`` (``norm0``, ``conv_block1.norm1``), or
            found by these names.
        head: ``"load"`` takes the file's head. PANNs' is two linear layers, dropout and ReLU between, which take the
            place of our one. ``"fresh"`` leaves it and gives a new linear layer, drawn from torch's random state.
        head_path: the linear layer of the SpeechBrain layout, which is saved in a file of its own.

    Raises:
        OutputError: a file that is missing, damaged or needs unpickling; tensors that are missing, unknown, of another
            shape or not finite.
        ConfigError: options that do not fit each other or the file.
    """
    one_of("head", head, ("load", "fresh"))
    one_of("layout", layout, ("auto", *_LAYOUTS))
    if head == "fresh" and head_path is not None:
        raise ConfigError(f"head='fresh' does not read head_path={os.fspath(head_path)!r}; choose one of the two")
    at_least_one("n_classes", n_classes)
    tensors = read_tensors(path)
    kind = _find(tensors, path) if layout == "auto" else layout
    names, ignored = _LAYOUTS[kind].names(), set(_LAYOUTS[kind].ignored)
    if head == "fresh":
        ignored |= _LAYOUTS[kind].head.keys()
    elif kind == "panns":
        if head_path is not None:
            raise ConfigError(f"a PANNs file holds its own head; leave head_path={os.fspath(head_path)!r} out")
        names |= _LAYOUTS[kind].head
    elif head_path is None:
        raise ConfigError(
            "the SpeechBrain layout keeps its linear layer in a file of its own; pass head_path=..., "
            "or head='fresh' for a new one"
        )
    theirs = {_rename(name, names): tensor for name, tensor in tensors.items() if name not in ignored}
    if head_path is not None:
        theirs |= {f"head.{name}": tensor for name, tensor in _read_linear(head_path).items()}
    last = theirs.get("head.4.weight", theirs.get("head.weight"))
    if head == "load" and last is not None and last.ndim and len(last) != n_classes:
        raise ConfigError(
            f"n_classes={n_classes}, but the head in the file has {len(last)} classes; pass n_classes={len(last)}, "
            f"or head='fresh' for a new layer of {n_classes}"
        )
    backwards = {ours: name for name, ours in names.items()}
    width, n_mels = (_size(theirs, ours, backwards, path) for ours in ("blocks.0.0.weight", "norm.weight"))
    network = _build(n_classes, n_mels, width, deep=head == "load" and kind == "panns")
    _check(theirs, network, backwards, own_head=head == "fresh", path=path)
    network.load_state_dict(theirs, strict=False)  # checked name by name above
    return network.eval()


def _find(tensors: Mapping[str, Tensor], path: PathLike) -> str:
    found = [name for name, layout in _LAYOUTS.items() if f"{layout.first}.weight" in tensors]
    if len(found) != 1:
        raise OutputError(
            f"{os.fspath(path)!r} is CNN14 in no known layout: it has neither bn0.weight (PANNs) nor norm0.weight "
            f"(SpeechBrain), or both; its {len(tensors)} tensors begin with {some(tensors)}"
        )
    return found[0]


def _rename(name: str, names: Mapping[str, str]) -> str:
    """Our name; a tensor that we do not know keeps its own, marked so that it cannot meet one of ours."""
    return names.get(name, f"?{name}")


def _size(theirs: Mapping[str, Tensor], ours: str, backwards: Mapping[str, str], path: PathLike) -> int:
    """Rows of a tensor that the network's sizes are taken from."""
    tensor = theirs.get(ours)
    if tensor is None or tensor.ndim == 0 or tensor.numel() == 0:
        names = (name.removeprefix("?") for name in theirs)
        raise OutputError(
            f"{os.fspath(path)!r} has no usable {backwards[ours]!r}; its {len(theirs)} tensors begin with "
            f"{some(names)}; leave layout to be found, and use the file of a plain Cnn14"
        )
    return len(tensor)


def _build(n_classes: int, n_mels: int, width: int, *, deep: bool) -> CNN14:
    """The network in the file's sizes, with PANNs' head if ``deep``; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        network = CNN14(n_classes, n_mels, width)
        if deep:
            inner, last = nn.Linear(32 * width, 32 * width), nn.Linear(32 * width, n_classes)
            network.add_module("head", nn.Sequential(nn.Dropout(0.5), inner, nn.ReLU(), nn.Dropout(0.5), last))
    return network


def _check(
    theirs: Mapping[str, Tensor], network: nn.Module, backwards: Mapping[str, str], *, own_head: bool, path: PathLike
) -> None:
    """Raise unless the file has every tensor of the network, in its shape, and no other."""
    ours = {k: v for k, v in network.state_dict().items() if not (own_head and k.startswith("head."))}

    def shape(tensor: Tensor) -> str:
        return " × ".join(map(str, tensor.shape)) or "a single number"

    missing = [backwards.get(k, k) for k in ours if k not in theirs and not k.endswith(_COUNTER)]
    unknown = [k.removeprefix("?") for k in theirs if k not in ours]
    both = {backwards.get(k, k): (theirs[k], ours[k]) for k in ours if k in theirs}
    wrong = [f"{k} ({shape(a)}, not {shape(b)})" for k, (a, b) in both.items() if a.shape != b.shape]
    kinds = [f"{k} ({a.dtype})" for k, (a, b) in both.items() if b.is_floating_point() and not a.is_floating_point()]
    broken = [k for k, (a, _) in both.items() if a.is_floating_point() and not a.isfinite().all()]
    faults = {"missing": missing, "unknown": unknown, "wrong shape": wrong, "no floats": kinds, "not finite": broken}
    found = [f"{len(names)} {fault}: {some(names)}" for fault, names in faults.items() if names]
    if found:
        raise OutputError(
            f"{os.fspath(path)!r} does not hold this CNN14; tensors {'; '.join(found)}. Nothing was loaded; "
            "use the file of a plain Cnn14, or head='fresh' if only its head is another"
        )


def some(names: Iterable[str], between: str = ", ") -> str:
    """The first names, and how many more there are."""
    names = list(names)
    return between.join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _read_linear(path: PathLike) -> dict[str, Tensor]:
    """``weight`` and ``bias`` of one linear layer; SpeechBrain's own class puts ``w.`` before them."""
    tensors = read_tensors(path)
    if tensors.keys() == {"w.weight", "w.bias"}:
        tensors = {name.removeprefix("w."): tensor for name, tensor in tensors.items()}
    if tensors.keys() != {"weight", "bias"}:
        raise OutputError(
            f"{os.fspath(path)!r} is no linear layer: it holds {some(tensors)} in place of weight and bias. A head of "
            "more layers or without a bias, such as SpeechBrain's cosine classifier, has no place in CNN14; "
            "pass head='fresh' and train a new layer"
        )
    return tensors


def read_tensors(path: PathLike) -> dict[str, Tensor]:
    """Name to tensor; of a file with an entry ``"model"``, those in it. Nothing is unpickled.

    Raises:
        OutputError: a file that is missing, damaged, or holds more than tensors.
    """
    place = repr(os.fspath(path))
    try:
        content = _load(Path(path))
    except FileNotFoundError as error:
        raise OutputError(f"there is no file {place}; check the path") from error
    except pickle.UnpicklingError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line.partition(". ")[0] for line in lines if "unsupported" in line.lower()), "not readable")
        raise OutputError(
            f"{place} holds more than tensors, or is damaged ({reason}). Unpickling it could run any code, so it is "
            "refused; where it comes from, save network.state_dict() alone, or as safetensors"
        ) from error
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        raise OutputError(f"{place} cannot be read: {type(error).__name__}: {error}") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise OutputError(f"{place} holds no named tensors but {type(content).__name__}; save network.state_dict()")
    others = [str(name) for name, tensor in content.items() if not isinstance(tensor, Tensor)]
    if others:
        raise OutputError(f"{place} holds other things than tensors: {some(others)}; save network.state_dict() alone")
    tensors = {str(name): tensor for name, tensor in content.items()}
    if all(name.startswith("module.") for name in tensors):  # saved from DataParallel
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _load(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        return load(path.read_bytes())
    content: object = torch.load(path, map_location="cpu", weights_only=True)
    return content
