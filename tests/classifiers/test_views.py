"""Views of a zero-shot classifier: prompts of their own, everything else shared, and nothing of it touched."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import networks
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError
from audioxai.metrics import random_prompts

CLIPS = networks.clips(3, 4000)
LABELS = networks.LABELS


def logits_of(classifier, prompts):
    """What a classifier says whose labels are the prompts."""
    other = copy.deepcopy(classifier)
    other.set_prompts(prompts)
    with torch.no_grad():
        return other(CLIPS)


def test_a_view_knows_its_prompts_and_its_classifier_does_not():
    classifier = networks.zero_shot()
    view = classifier.for_targets([None, 2, "rain", ["a cat", "rain", "a duck"], "a cat"])
    assert view.labels == (*LABELS, "a cat", "a duck")
    assert view.prompts == {label: (label,) for label in view.labels}
    torch.testing.assert_close(view(CLIPS), logits_of(classifier, view.labels))
    assert "a duck" in repr(view)
    more = view.for_targets(["a cow"])
    assert more.labels == (*view.labels, "a cow")
    assert more.for_targets(["a cow", 0]) is more
    torch.testing.assert_close(more(CLIPS), logits_of(classifier, more.labels))
    own = classifier.with_embeddings(["rain", "x"], classifier.text_embeddings[[1, 0]])
    torch.testing.assert_close(own(CLIPS), logits_of(classifier, ["rain", "dog"]))
    assert classifier.labels == LABELS and classifier(CLIPS).shape == (3, 4)
    ordinary = networks.log_mel_cnn()
    assert ordinary.for_targets(["rain", "a cat"]) is ordinary


def test_a_view_shares_modules_hooks_weights_and_texts():
    classifier = networks.zero_shot()
    view = classifier.for_targets(["a cat"])
    assert [*map(id, view.parameters())] == [*map(id, classifier.parameters())]
    assert view.network.encoder is classifier.network.encoder and view.text_encoder is classifier.text_encoder
    assert view.frontend is classifier.frontend
    assert view.state_dict().keys() == classifier.state_dict().keys()
    assert view.fingerprint() == classifier.fingerprint()
    rows = []
    runs = [m.register_forward_pre_hook(lambda _m, x: rows.append(len(x[0]))) for m in (classifier, classifier.network)]
    view(CLIPS)
    assert rows == [3, 3]
    rows.clear()
    layers = view.layers  # found by a dry run, once for both
    assert rows and len(layers) > 0
    rows.clear()
    assert classifier.latent_layers == view.latent_layers
    assert not rows
    for run in runs:
        run.remove()
    with view.frozen():
        assert not any(p.requires_grad for p in classifier.parameters())
    assert all(p.requires_grad for p in classifier.parameters())
    texts = []
    classifier.text_encoder.register_forward_pre_hook(lambda _m, given: texts.extend(given[0]))
    view.embed_text(["a cat", "a cow"])
    classifier.embed_text(["a cow"])
    classifier.for_targets(["a cat", "a cow"])
    assert texts == ["a cow"]


def test_a_view_never_changes():
    classifier = networks.zero_shot(networks.waveform_cnn())
    view = classifier.for_targets(["a cat"])
    now = classifier.for_targets([])
    before = view(CLIPS), now(CLIPS)
    for fixed in (view, copy.deepcopy(view)):
        with pytest.raises(ConfigError, match="a view .* never changes; call set_prompts on the classifier itself"):
            fixed.set_prompts(["x"])
    classifier.set_prompts(["x", "y"], template="a {}")
    assert torch.equal(view(CLIPS), before[0]) and torch.equal(now(CLIPS), before[1])
    assert (view.labels, now.labels) == ((*LABELS, "a cat"), LABELS)
    assert view.templates == ("{}",)
    classifier.double()  # as a move to another device: the weights go, the view's embeddings follow when asked
    torch.testing.assert_close(view(CLIPS.double()), before[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_stand_alone(kind):
    classifier = networks.zero_shot()
    view = classifier.for_targets(["a cat"])
    expected = classifier(CLIPS), view(CLIPS)
    copies = kind(classifier), kind(view)
    with torch.no_grad():
        classifier.network.encoder.head.bias += 1
    classifier.set_prompts(["x"])
    assert all(torch.equal(one(CLIPS), logits) for one, logits in zip(copies, expected, strict=True))
    assert copies[1].labels == view.labels
    assert copies[1].for_targets(["a cow"])(CLIPS).shape == (3, 6)
    copies[0].set_prompts(["x", "y"])
    assert copies[0](CLIPS).shape == (3, 2)


# --- in use -------------------------------------------------------------------------------------------------------


def test_threads_that_explain_other_prompts_get_what_one_thread_gets():
    targets = ["a cat", None, ["a duck", "rain", "a cow"], "a cat in the rain"]
    alone = [ax.Saliency(networks.zero_shot()).explain(CLIPS, target) for target in targets]
    classifier = networks.zero_shot()  # which has embedded none of them
    explainer = ax.Saliency(classifier)
    with ThreadPoolExecutor(len(targets)) as pool:
        together = list(pool.map(lambda number: explainer.explain(CLIPS, targets[number % 4]), range(24)))
    for number, one in enumerate(together):
        expected = alone[number % 4]
        assert (one.labels, one.target_names) == (expected.labels, expected.target_names)
        torch.testing.assert_close(one.mask, expected.mask)
        torch.testing.assert_close([*one.scores], [*expected.scores])
    assert classifier.labels == LABELS


def test_views_take_turns_and_the_network_comes_back_as_it_was():
    classifier = networks.zero_shot().train()
    explainer, prompts = ax.GradCAM(classifier), ["a cat", "a duck", "rain", "a cow"]
    alone = [explainer.explain(CLIPS, prompt).mask for prompt in prompts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: explainer.explain(CLIPS, prompts[n % 4]).mask, range(40)))
    for number, mask in enumerate(found):
        torch.testing.assert_close(mask, alone[number % 4])
    assert all(module.training and not module._forward_hooks for module in classifier.modules())
    assert all(parameter.requires_grad for parameter in classifier.parameters())


def test_threads_that_ask_views():
    classifier = networks.zero_shot()
    prompts = [[f"sound {i} of {n}" for i in range(n)] for n in (1, 2, 3, 4)]
    expected = [logits_of(classifier, [*LABELS, *some]) for some in prompts]

    def ask(number):
        with torch.no_grad():
            return [classifier.for_targets(prompts[number])(CLIPS) for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        for found, logits in zip(pool.map(ask, range(4)), expected, strict=True):
            for one in found:
                torch.testing.assert_close(one, logits)


def fit(classifier):
    batch = CLIPS, ["a cat", "a duck", "a cat"]
    return ax.LMACZS(classifier, width=4).fit([batch], epochs=1, progress=False)


CALLS = {
    "explain": lambda c: ax.Saliency(c).explain(CLIPS, "a cat").scores,
    "explain_all": lambda c: [one.scores for one in ax.GradCAM(c).explain_all(CLIPS, [None, "a cat", "a duck"])],
    "attribute": lambda c: ax.Saliency(c).attribute(CLIPS, "a cat"),
    "fit": lambda c: fit(c).explain(CLIPS, "a cow").scores,
    "metrics": lambda c: ax.evaluate(
        [ax.Saliency(c)], [{"waveform": CLIPS, "target": ["a cat"] * 3}], metrics=["deletion", "max-sensitivity"]
    ),
    "random tower": lambda c: random_prompts(ax.Saliency(c), CLIPS, ["a cat"] * 3),
    "random embedding": lambda c: random_prompts(ax.Saliency(c), CLIPS, ["a cat"] * 3, randomise="embedding"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_in_the_classifier_is_touched_during_a_call(call, fails):
    classifier = networks.zero_shot()
    _ = classifier.layers
    text, prompts = classifier.text_embeddings, classifier.prompts
    buffers = [*classifier.buffers()]
    values = {name: value.clone() for name, value in classifier.state_dict().items()}
    passes = []

    def check(*_):
        assert classifier.labels == LABELS and classifier.prompts is prompts and classifier.text_embeddings is text
        assert all(a is b for a, b in zip(classifier.buffers(), buffers, strict=True))
        state = classifier.state_dict()
        assert state.keys() == values.keys() and all(torch.equal(state[name], values[name]) for name in values)
        passes.append(None)
        if fails:
            raise ZeroDivisionError

    handle = classifier.network.encoder.register_forward_pre_hook(check)
    if fails:
        with pytest.raises(ZeroDivisionError):
            call(classifier)
    else:
        call(classifier)
    handle.remove()
    assert passes
    check_after = [name for name, value in classifier.state_dict().items() if not torch.equal(value, values[name])]
    assert classifier.text_embeddings is text and not check_after


def test_what_a_method_notes_is_noted_by_the_explainer():
    guided = ax.GuidedBackprop(networks.zero_shot())
    guided.explain(CLIPS, "a cat")
    assert guided.intercepted_ > 0
    gradients = ax.IntegratedGradients(networks.zero_shot())
    gradients.explain_all(CLIPS, ["a cat", None])
    assert gradients.gap_.shape == (6,)
    assert gradients.classifier.labels == gradients.space.classifier.labels == LABELS
