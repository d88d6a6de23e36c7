"""Checks of what explainers leave behind in a network and beside it, and of what they share with other threads."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from audioxai.errors import TargetError
from audioxai.support.identity import differences
from audioxai.testing.trial import Trial, numpys, require, torchs

__all__ = ["copies", "half", "identity", "threads", "untouched"]


def untouched(t: Trial) -> None:
    """The caller's network and random state are as they were, after an exception too."""
    network = t.explainer.classifier  # front end and all
    modes = [(module, module.training) for module in network.modules()]
    parameters = list(network.parameters())
    kept = [(p.requires_grad, p.grad) for p in parameters]
    try:
        network.train()
        for parameter in parameters:
            parameter.requires_grad_(True)
            parameter.grad = torch.ones_like(parameter)
        tensors = dict([*network.named_parameters(), *network.named_buffers()])
        state = {name: value.detach().clone() for name, value in tensors.items()}
        attributes = {name: set(vars(module)) for name, module in network.named_modules()}
        hooked = {name: _hooks(module) for name, module in network.named_modules()}
        draws = torchs(t), numpys()
        for target in (None, t.whole.scores.input.shape[1]):
            when = "after an exception" if target else "after explain()"
            try:
                t.explainer.explain(t.clips, target).scores  # noqa: B018 - computed on demand
            except TargetError:
                require(target is not None, "the predicted class is refused")
            require(all(module.training for module in network.modules()), f"{when}: the mode has changed")
            require(all(p.requires_grad for p in parameters), f"{when}: requires_grad has changed")
            for parameter in parameters:
                untouched = parameter.grad is not None and torch.equal(parameter.grad, torch.ones_like(parameter))
                require(untouched, f"{when}: gradients have changed")
            for name, module in network.named_modules():
                require(_hooks(module) == hooked[name], f"{when}: a hook is left on {name!r}")
                left = set(vars(module)) - attributes[name]
                require(not left, f"{when}: attributes {sorted(left)} are left on {name!r}")
            for name, value in tensors.items():
                require(torch.equal(value, state[name]), f"{when}: {name} has changed")
            require(torch.equal(torchs(t), draws[0]), f"{when}: torch's random state has changed")
            require(numpys() == draws[1], f"{when}: NumPy's random state has changed")
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, (flag, gradient) in zip(parameters, kept, strict=True):
            parameter.requires_grad_(flag)
            parameter.grad = gradient


def _hooks(module: torch.nn.Module) -> list[int]:
    """The numbers of a module's hooks; it may have some of its own."""
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return [number for kind in kinds for number in kind]


def identity(t: Trial) -> None:
    """What the explainer is known by does not change by explaining, so that an interrupted run can go on."""
    before = t.explainer.identity()
    t.explainer.explain(t.clips[:1])
    changed = differences(before, t.explainer.identity())
    require(not changed, f"explain() changes it: {'; '.join(changed)}")


def threads(t: Trial) -> None:
    """Threads that explain at once get what each would get alone."""
    several, threads = torch.get_num_threads(), 2

    def work(clip: int) -> Any:
        torch.set_num_threads(several)  # sums depend on it, and a new thread knows nothing of it
        return t.explainer.explain(t.clips[clip : clip + 1])

    with ThreadPoolExecutor(threads) as pool:
        for clip, found in enumerate(pool.map(work, range(threads))):
            t.same(f"thread {clip + 1} of {threads}", found, clip=clip)


def half(t: Trial) -> None:
    """Half precision gives a finite result."""
    with torch.autocast(t.explainer.classifier.device.type, torch.bfloat16):
        mask = t.explainer.explain(t.clips[:1]).mask
    require(bool(((mask >= 0) & (mask <= 1)).all()), f"in bfloat16 the mask runs from {mask.min()} to {mask.max()}")


def copies(t: Trial) -> None:
    """A deep copy of the classifier, and a pickled one where its own parts can be pickled, give the same logits."""
    classifier = t.explainer.classifier
    with classifier.frozen(), torch.no_grad():
        expected = classifier(t.clips.to(classifier.device))
    made = {"a deep copy": copy.deepcopy(classifier)}
    try:
        pickle.dumps([vars(classifier), classifier.network])
    except (pickle.PicklingError, AttributeError, TypeError):  # a lambda or a local class of the user's
        pass
    else:
        made["a pickled classifier"] = pickle.loads(pickle.dumps(classifier))
    for what, other in made.items():
        with other.frozen(), torch.no_grad():
            gap = float((other(t.clips.to(other.device)) - expected).abs().max())
        require(gap <= t.tolerance, f"{what}: logits differ by {gap:.2g}")
