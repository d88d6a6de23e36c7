"""Which layers of a network carry maps, and how their outputs are read as (B, C, F, N)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from audioxai.errors import AudioXAIError, ClassifierError, ConfigError, LabelsError, nearest

__all__ = [
    "PROBE_SECONDS", "LatentLayer", "Layers", "choose_layers", "module_shapes", "name_of", "read_layers",
    "scaled_gradient",
]  # fmt: skip

#: Names or modules, or names to functions that make maps (B, C, F, N) of the outputs; ``None``: to be found.
Layers: TypeAlias = Sequence[str | nn.Module] | Mapping[str, Callable[[Tensor], Tensor]] | None

_MOST_LAYERS = 4
_MOVED = 0.2  # share of an axis by which a response must move, where the sound moves by 0.31 of the clip
PROBE_SECONDS = (1.0, 2.0, 5.0, 10.0, 0.5, 0.2)  # the short ones for networks that take no more


@dataclass(frozen=True)
class LatentLayer:
    """One layer and the way to read it.

    Args:
        name: the module's name in the network.
        time_axis: axis of the output that grows with the clip.
        kind: ``"map"`` for (B, C, H, W), ``"sequence"`` for (B, C, L), ``"tokens"`` for (B, L, D), or ``"custom"``.
        reshape: the caller's own function to (B, C, F, N), for ``"custom"``.
    """

    name: str
    kind: str
    time_axis: int = -1
    reshape: Callable[[Tensor], Tensor] | None = None

    def as_map(self, latent: Tensor) -> Tensor:
        """Raw output of any precision to (B, C, F, N) in float32, which all that follows is computed in."""
        latent = latent.float()
        if self.reshape is not None:
            maps = self.reshape(latent)
            if not isinstance(maps, Tensor) or maps.ndim != 4:
                raise ClassifierError(f"the function given for layer {self.name!r} must return (B, C, F, N)")
            return maps
        if self.kind == "map":
            return latent if self.time_axis == 3 else latent.transpose(2, 3)
        return (latent if self.kind == "sequence" else latent.transpose(1, 2))[:, :, None, :]


def name_of(network: nn.Module, layer: str | nn.Module) -> str:
    """The name of a layer given as a name or as the module itself.

    Raises:
        ConfigError: the network has no such layer; the error lists the nearest names.
    """
    if isinstance(layer, str):
        known = dict(network.named_modules())
        if layer not in known:
            raise ConfigError(f"the network has no layer {layer!r}; nearest: {nearest(layer, filter(None, known))}")
        return layer
    for name, module in network.named_modules():
        if module is layer:
            return str(name)
    raise ConfigError(f"layer {type(layer).__name__} is not part of the network; pass one of its modules or a name")


def read_layers(
    network: nn.Module, run: Callable[[], Tensor], names: Sequence[str], *, cut: bool, gradient_scale: float = 1.0
) -> tuple[Tensor, list[Tensor]]:
    """One forward pass that also returns the outputs of the named layers.

    Args:
        network: whose layers are read.
        run: the forward pass of the network, to logits.
        names: layers, in the order wanted.
        cut: start the autograd graph at each layer that has none yet, so that it becomes a leaf.
        gradient_scale: what gradients inside the network are multiplied by; those to the outputs are not.

    Raises:
        ClassifierError: a layer that the forward pass never reached.
    """
    outputs: dict[str, Tensor] = {}
    modules = dict(network.named_modules())

    def keep(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            tensor = _first_tensor(output)
            if tensor is None:
                raise ClassifierError(f"layer {name!r} returns {type(output).__name__}, not a tensor")
            if not cut:
                outputs[name] = tensor
                return None
            dtype = tensor.dtype
            # A copy of its own, so that an in-place activation after the layer cannot change what was read.
            if gradient_scale != 1:
                tensor = scaled_gradient(tensor.float(), gradient_scale).clone()
            kept = tensor.detach().requires_grad_() if not tensor.requires_grad else tensor
            outputs[name] = kept
            passed = scaled_gradient(kept, 1 / gradient_scale).to(dtype)
            return passed if isinstance(output, Tensor) else (passed, *output[1:])

        return hook

    with _hooked({name: modules[name] for name in names}, keep):
        logits = run()
    missing = [name for name in names if name not in outputs]
    if missing:
        reached = nearest(missing[0], outputs or modules)
        raise ClassifierError(f"layer {missing[0]!r} is never reached in the forward pass; others are {reached}")
    return logits, [outputs[name] for name in names]


def scaled_gradient(tensor: Tensor, factor: float) -> Tensor:
    """A copy, the gradient to which is multiplied by a factor in float32 on the way back."""
    if factor == 1 or not tensor.requires_grad:
        return tensor.clone()
    copy = tensor.float().clone()
    copy.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
    return copy.to(tensor.dtype)


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    return None


def choose_layers(
    network: nn.Module, run: Callable[[Tensor], Any], sample_rate: int, asked: Layers
) -> tuple[LatentLayer, ...]:
    """The layers asked for, or the deepest map of each resolution, at most four, shallowest first.

    Dry runs show which axis of each output is time: the one that grows with the clip, where the network takes several
    lengths, and along which the response to a sound moves as the sound does, which tokens of patches in rows do not.

    Args:
        network: whose layers are chosen.
        run: the forward pass for clips (B, T).
        sample_rate: of the clips, in Hz.
        asked: names or modules, or a mapping from name to a function that makes maps of the output.

    Raises:
        ClassifierError: no length of noise passes the network, or none of its layers carries a map.
    """
    if isinstance(asked, Mapping):
        return tuple(LatentLayer(name, "custom", reshape=function) for name, function in asked.items())
    runs, axes = _dry_runs(network, run, sample_rate)
    names = None if asked is None else [name_of(network, layer) for layer in asked]
    found: dict[str, LatentLayer] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for name in runs[0]:
        layer = _read_axes(name, [shapes.get(name) for shapes in runs], axes)
        if layer is not None:
            found[name] = layer
            shape = runs[0][name]
            time = shape[layer.time_axis]
            sizes[name] = (shape[5 - layer.time_axis] if layer.kind == "map" else 1, time)
    if names is not None:
        for name in names:
            if name not in found:
                if name not in runs[0]:
                    raise ClassifierError(
                        f"layer {name!r} is never reached in the forward pass, or more than once, or returns no "
                        f"tensor; layers that are: {nearest(name, runs[0])}"
                    )
                unclear = axes.get(name, 0) is None
                raise ClassifierError(
                    f"layer {name!r} with output {tuple(runs[0][name])} "
                    f"{'does not show which of its axes is time' if unclear else 'carries no map over time'}; choose "
                    f"another, such as {nearest(name, found or runs[0])}, or pass "
                    "layers={name: function to (B, C, F, N)}"
                )
        return tuple(found[name] for name in names)
    deepest: dict[tuple[int, int], str] = {}
    for name in found:  # in the order of execution, so later ones replace earlier ones of the same resolution
        deepest.pop(sizes[name], None)
        deepest[sizes[name]] = name
    chosen = list(deepest.values())[-_MOST_LAYERS:]
    if not chosen:
        raise ClassifierError(
            "no layer of the network carries a map over time; name some with layers=[...] or pass "
            "layers={name: function to (B, C, F, N)}"
        )
    return tuple(found[name] for name in chosen)


def _dry_runs(
    network: nn.Module, run: Callable[[Tensor], Any], sample_rate: int
) -> tuple[list[dict[str, torch.Size]], dict[str, int | None]]:
    """Output shapes of every module run exactly once, in order of execution, for noise of up to two lengths.

    With the axis of each along which a sound moves.
    """
    runs: list[dict[str, torch.Size]] = []
    failure: Exception | None = None
    lengths = []
    generator = torch.Generator().manual_seed(0)
    for seconds in PROBE_SECONDS:
        noise = 0.1 * torch.randn(2, round(seconds * sample_rate), generator=generator)
        try:
            runs.append(module_shapes(network, lambda: run(noise)))  # noqa: B023 (called at once)
        except LabelsError:  # at any length
            raise
        except (AudioXAIError, RuntimeError) as error:
            failure = error
            continue
        lengths.append(noise.shape[1])
        if len(runs) == 2:
            break
    if not runs:
        raise ClassifierError(
            f"the network accepts none of the probe clips of {PROBE_SECONDS} s ({failure}); "
            "name layers as {name: function to (B, C, F, N)} to skip the probe"
        ) from failure
    return runs, _time_axes(network, run, lengths[0])


def _time_axes(network: nn.Module, run: Callable[[Tensor], Any], samples: int) -> dict[str, int | None]:
    """For each module that hears a burst the axis along which its output moves too; ``None`` where it is unclear."""
    generator = torch.Generator().manual_seed(0)
    quiet = 1e-3 * torch.randn(samples, generator=generator)
    burst = 0.3 * torch.randn(max(1, samples // 8), generator=generator)
    clips = quiet.repeat(3, 1)
    for clip, start in zip(clips, (samples // 8, samples * 7 // 16, samples * 3 // 4), strict=True):
        clip[start : start + len(burst)] += burst
    axes: dict[str, int | None] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = _first_tensor(output)
            if tensor is not None and len(tensor) == 3 and tensor.ndim in (3, 4):
                response = tensor.float().diff(dim=0).square()
                if response.any():
                    axes[name] = _moving_axis(response)

        return hook

    with _hooked({name: module for name, module in network.named_modules() if name}, keep):
        run(clips)
    return axes


def _moving_axis(response: Tensor) -> int | None:
    """The axis along which the second of two changes (2, ...) lies clearly behind the first; ``None`` if none does.

    Changes from one clip to the next leave out what all share, however a front end scales a clip.
    """
    moved: dict[int, float] = {}
    for axis in range(1 if response.ndim == 3 else 2, response.ndim):  # the second of four holds channels
        profile = response.transpose(1, axis).flatten(2).sum(2)
        place = torch.arange(profile.shape[1], device=profile.device) / profile.shape[1]
        first, second = ((profile * place).sum(1) / profile.sum(1)).tolist()
        moved[axis] = second - first if math.isfinite(second - first) else 0.0
    axis = max(moved, key=lambda known: moved[known])
    others = [abs(shift) for known, shift in moved.items() if known != axis]
    return axis if moved[axis] > _MOVED and moved[axis] > 3 * max(others) else None


def module_shapes(network: nn.Module, run: Callable[[], Any]) -> dict[str, torch.Size]:
    """Output shapes of the modules that a forward pass of two clips runs exactly once, in order of execution."""
    shapes: dict[str, torch.Size] = {}
    calls: dict[str, int] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = _first_tensor(output)
            calls[name] = calls.get(name, 0) + 1
            if tensor is not None and tensor.is_floating_point() and len(tensor) == 2:
                shapes.pop(name, None)
                shapes[name] = tensor.shape

        return hook

    with _hooked({name: module for name, module in network.named_modules() if name}, keep):
        run()
    return {name: shape for name, shape in shapes.items() if calls[name] == 1}


@contextmanager
def _hooked(
    modules: Mapping[str, nn.Module], hook: Callable[[str], Callable[[nn.Module, Any, Any], Any]]
) -> Iterator[None]:
    """A forward hook at each of the modules, for the length of a pass."""
    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _read_axes(name: str, shapes: Sequence[torch.Size | None], axes: Mapping[str, int | None]) -> LatentLayer | None:
    """How to read a layer from its shapes for clips of different lengths, and the axes along which a sound moves.

    None if it carries no map over time.
    """
    shape = shapes[0]
    if shape is None or len(shape) not in (3, 4) or any(s is None for s in shapes):
        return None
    if len(shapes) == 2:
        growing = [axis for axis in range(1, len(shape)) if shapes[1][axis] != shape[axis]]  # type: ignore[index]
        if len(growing) != 1 or (len(shape) == 4 and growing[0] == 1):
            return None
        axis: int | None = growing[0]
        if len(shape) == 3 and axes.get(name, axis) != axis:  # tokens of patches in rows grow too
            return None
    else:
        axis = axes.get(name)
    if axis is None or shape[axis] < 2:
        return None
    if len(shape) == 4:
        return LatentLayer(name, "map", axis)
    return LatentLayer(name, "sequence" if axis == 2 else "tokens", axis)
