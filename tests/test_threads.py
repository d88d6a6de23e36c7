"""Several threads explain one classifier: each gets what it would get alone, and the network comes back as it was."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import networks
import pytest
import torch
from every_explainer import EXPLAINERS, LEARNED

import audioxai as ax
from audioxai.errors import TargetError

THREADS, CALLS = 8, 100
CLIPS = networks.clips(2, 2000)
pytestmark = pytest.mark.filterwarnings("ignore:.*attributions miss")


@pytest.fixture
def classifier() -> ax.AudioClassifier:
    """In training mode, with one parameter frozen: what a call must bring back."""
    made = networks.log_mel_cnn().train()
    next(made.parameters()).requires_grad_(False)
    return made


def pool_of_threads() -> ThreadPoolExecutor:
    """Sums depend on how many threads share an operation, which each thread is told anew."""
    return ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,))


def state(classifier: ax.AudioClassifier) -> list[object]:
    flags = [parameter.requires_grad for parameter in classifier.parameters()]
    hooks = [len(module._forward_hooks) + len(module._backward_hooks) for module in classifier.modules()]
    return [flags, hooks, [module.training for module in classifier.modules()]]


def test_eight_threads_over_all_explainers(classifier):
    made = {}
    for name, make in EXPLAINERS.items():
        made[name] = make(classifier)
        if name in LEARNED:
            made[name].fit([networks.clips(4, 2000)], epochs=1, progress=False)
    before = state(classifier)
    alone = {name: one.explain(CLIPS) for name, one in made.items()}
    scores = {name: one.scores for name, one in alone.items()}

    def work(number: int) -> str | None:
        name = list(made)[number % len(made)]
        found = made[name].explain(CLIPS)
        same = torch.equal(found.mask, alone[name].mask) and torch.equal(found.waveform, alone[name].waveform)
        same &= all(torch.equal(a, b) for a, b in zip(found.scores, scores[name], strict=True))
        return None if same else name

    with pool_of_threads() as pool:
        wrong = [name for name in pool.map(work, range(CALLS)) if name]
    assert not wrong
    assert state(classifier) == before


def test_one_explainer_in_many_threads(classifier):
    explainer = ax.IntegratedGradients(classifier, n_steps=4)
    batches = [networks.clips(size, 2000) for size in (1, 2, 3)]
    alone = [explainer.explain(clips, 1).mask for clips in batches]
    with pool_of_threads() as pool:
        found = list(pool.map(lambda number: explainer.explain(batches[number % 3], 1).mask, range(30)))
    assert all(torch.equal(mask, alone[number % 3]) for number, mask in enumerate(found))


def test_who_asks_the_network_meanwhile_is_answered_as_always(classifier):
    """Its pass is not read as an explainer's, and the explainer's evaluation mode is not its own."""
    classifier.eval()
    explainer, clips = ax.GradCAM(classifier), networks.clips(5, 2000)
    alone, logits = explainer.explain(CLIPS).mask, classifier(clips)
    with pool_of_threads() as pool:
        masks = [pool.submit(explainer.explain, CLIPS) for _ in range(20)]
        answers = [pool.submit(classifier, clips) for _ in range(20)]
    assert all(torch.equal(one.result().mask, alone) for one in masks)
    assert all(torch.equal(one.result(), logits) for one in answers)


def test_two_wrappers_of_one_network_take_turns(classifier):
    other = ax.AudioClassifier(classifier.network, sample_rate=8000, frontend=classifier.frontend)
    before = state(classifier)
    explainers = [ax.GradCAM(classifier), ax.GradCAM(other)]
    alone = explainers[0].explain(CLIPS).mask
    with pool_of_threads() as pool:
        found = list(pool.map(lambda number: explainers[number % 2].explain(CLIPS).mask, range(40)))
    assert all(torch.equal(mask, alone) for mask in found)
    assert state(classifier) == before


def test_a_call_that_fails_lets_the_others_go_on(classifier):
    explainer = ax.GradCAM(classifier)
    before, alone = state(classifier), explainer.explain(CLIPS).mask

    def work(number: int) -> torch.Tensor | None:
        if number % 2:
            with pytest.raises(TargetError):
                explainer.explain(CLIPS, 99)
            return None
        return explainer.explain(CLIPS).mask

    with pool_of_threads() as pool:
        found = list(pool.map(work, range(40)))
    assert all(mask is None or torch.equal(mask, alone) for mask in found)
    assert state(classifier) == before


FORKED = """
import os, threading, networks, audioxai as ax
classifier = networks.log_mel_cnn()
explainer = ax.GradCAM(classifier)
entered, leave = threading.Event(), threading.Event()

def hold():
    with classifier.frozen():
        entered.set()
        leave.wait(60)

holder = threading.Thread(target=hold)
holder.start()
entered.wait(60)
child = os.fork()
if child == 0:
    explainer.explain(networks.clips(1, 2000))
    os._exit(7)
_, status = os.waitpid(child, 0)
leave.set()
holder.join()
raise SystemExit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_process_that_forks_while_another_thread_explains():
    import os
    import subprocess
    import sys
    from pathlib import Path

    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", FORKED], env={**os.environ, "PYTHONPATH": path}, timeout=120)
    assert done.returncode == 7


def test_a_thread_may_nest_calls(classifier):
    with classifier.frozen(), classifier.frozen():
        assert not classifier.training
        explanation = ax.GradCAM(classifier).explain(CLIPS)
    assert classifier.training and threading.active_count()
    assert explanation.scores.kept.isfinite().all()
