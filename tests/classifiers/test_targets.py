"""The target rules: every form, every refusal, for the table and for every explainer that relies on it."""

import numpy as np
import pytest
import torch

from audioxai.classifiers.targets import parse_target
from audioxai.errors import TargetError

LABELS = ("dog", "rain", "siren", "bell")
LOGITS = torch.tensor([[0.0, 3.0, 1.0, 2.0], [5.0, 1.0, 5.0, 0.0], [-1.0, -2.0, -3.0, 4.0]])


def score(target, labels=LABELS, logits=LOGITS):
    return parse_target(target, len(logits), labels).resolve(logits, labels).score(logits)


def test_none_is_the_predicted_class_and_the_first_on_ties():
    target = parse_target(None, 3, LABELS).resolve(LOGITS, LABELS)
    assert target.classes.tolist() == [1, 0, 3]
    assert target.predicted
    assert target.names(LABELS, 3) == ["rain", "dog", "bell"]


@pytest.mark.parametrize("one", [2, np.int64(2), torch.tensor(2), np.array(2), "siren"])
def test_one_class_for_all_clips(one):
    assert score(one).tolist() == LOGITS[:, 2].tolist()


@pytest.mark.parametrize(
    "each", [[0, 1, 3], (0, 1, 3), torch.tensor([0, 1, 3]), np.array([0, 1, 3]), ["dog", "rain", "bell"],
             [np.int64(0), np.int64(1), np.int64(3)]],
)  # fmt: skip
def test_one_class_a_clip(each):
    assert score(each).tolist() == [0.0, 1.0, 4.0]


@pytest.mark.parametrize("kind", [np.array, lambda labels: np.array(labels, dtype=object)], ids=["str", "object"])
def test_arrays_of_labels(kind):
    assert torch.equal(score(kind(list(LABELS[:3]))), score([0, 1, 2]))


def test_a_bool_matrix_sums_logits():
    members = torch.tensor([[True, True, False, False], [False, False, True, False], [True, True, True, True]])
    expected = [(LOGITS[i] * members[i]).sum().item() for i in range(3)]
    assert score(members).tolist() == expected
    assert score(members.numpy()).tolist() == expected
    assert score(members.tolist()).tolist() == expected
    names = parse_target(members, 3, LABELS).resolve(LOGITS).names(LABELS, 3)
    assert names[:2] == ["dog + rain", "siren"]


def test_a_callable_is_used_as_it_is():
    assert score(lambda logits: logits[:, 1] - logits[:, 0]).tolist() == (LOGITS[:, 1] - LOGITS[:, 0]).tolist()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (1.0, "float"),
        (True, "bool"),
        (torch.tensor([0.0, 1.0, 2.0]), "float32"),
        (np.array([0.0, 1.0, 2.0]), "float64"),
        ([0.5, 1.0, 2.0], "float"),
        ([0, True, 2], "mixes booleans"),
        (10**30, "no class number"),
        ([10**30, 0, 1], "not a sequence of classes"),
        (np.array([b"dog", b"dog", b"dog"]), "not a sequence of classes"),
        (np.array(["dog", "rian", "dog"]), "'rain'"),
        ([0, 1], "2 entries for 3"),
        (["dog"], "1 entries for 3"),
        (torch.tensor([0, 1, 2, 3]), "4 entries for 3"),
        (4, "out of range"),
        (-1, "out of range"),
        ([0, 1, 9], "9 is out of range"),
        ("cat", "nearest"),
        (["dog", "dog", "rian"], "'rain'"),
        (["dog", 1, 2], "mixes labels"),
        (torch.zeros(3, 4, dtype=torch.bool), "marks no class"),
        (torch.ones(3, 5, dtype=torch.bool), "K = 4"),
        (torch.ones(2, 4, dtype=torch.bool), "B = 3"),
        (torch.ones(3, 1, dtype=torch.long), r"shape \(3, 1\)"),
        ([], "0 entries for 3"),
        ({"dog"}, "set"),
        (lambda logits: logits, "callable target must return"),
        (lambda logits: 3.0, "float"),
    ],
)
def test_bad_targets_are_refused_with_what_was_given(bad, words):
    with pytest.raises(TargetError, match=words):
        score(bad)
    with pytest.raises(ValueError, match=words):  # what a caller would catch
        score(bad)


def test_labels_without_labels():
    with pytest.raises(TargetError, match="needs labels"):
        score("dog", labels=None)


def test_rows_follow_the_clips():
    target = parse_target([3, 2, 1], 3, LABELS)
    assert target.rows(slice(1, 3)).resolve(LOGITS[1:]).score(LOGITS[1:]).tolist() == [5.0, -2.0]
