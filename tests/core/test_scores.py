"""Every metric is what scikit-learn says it is, in however many parts its rows arrive."""

from __future__ import annotations

import pickle
import warnings
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, softmax
from sklearn import metrics as sk

from paribus.errors import SpecError
from paribus.plan import Sums
from paribus.scores import METRICS, Scores, better, larger_is_better, validate

CLASSIFICATION = (
    "accuracy",
    "top_1_accuracy",
    "top_2_accuracy",
    "balanced_accuracy",
    "macro_f1",
    "roc_auc",
    "log_loss",
    "calibration_error",
)
REGRESSION = ("mean_squared_error", "mean_absolute_error", "r2")
LANGUAGE = ("accuracy", "perplexity")

quick = settings(max_examples=40, deadline=None)
# Eighths: sums of them are exact, and equal logits are common.
eighths = st.integers(-40, 40).map(lambda n: n / 8)


@st.composite
def classified(draw, most=5):
    rows, classes = draw(st.integers(1, 25)), draw(st.integers(2, most))
    elements = draw(st.sampled_from([eighths, st.sampled_from([0.0, 1.0])]))
    outputs = draw(arrays(np.float64, (rows, classes), elements=elements))
    labels = draw(arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    return outputs, labels


@st.composite
def numbers(draw):
    shape = draw(st.integers(1, 20)), draw(st.integers(1, 3))
    return tuple(draw(arrays(np.float64, shape, elements=eighths)) for _ in range(2))


def scored(objective, names, outputs, labels, cuts=()):
    scores = Scores(objective, names, outputs.shape[1])
    bounds = [0, *cuts, len(outputs)]
    for start, end in pairwise(bounds):
        scores.add(outputs[start:end], labels[start:end])
    return scores.result()


def alike(found, right, rel):
    """Assert that the same metrics are undefined, and that the others are close."""
    assert [name for name in found if found[name] is None] == [n for n in right if right[n] is None]
    numbers = {name: value for name, value in found.items() if value is not None}
    assert numbers == pytest.approx({name: right[name] for name in numbers}, rel=rel, abs=1e-12)


def calibration_error(probabilities, labels):
    """Guo et al. 2017, read off the paper."""
    error, rows = 0.0, len(labels)
    for m in range(15):
        bin_ = [
            (p.max(), p.argmax() == label)
            for p, label in zip(probabilities, labels, strict=True)
            if m / 15 < p.max() <= (m + 1) / 15
        ]
        if bin_:
            accuracy = sum(right for _, right in bin_) / len(bin_)
            confidence = sum(top for top, _ in bin_) / len(bin_)
            error += len(bin_) / rows * abs(accuracy - confidence)
    return error


def by_scikit_learn(outputs, labels):
    classes = list(range(outputs.shape[1]))
    best, p = outputs.argmax(axis=1), softmax(outputs, axis=1)
    binary = len(classes) == 2
    ranked = expit(outputs[:, 1] - outputs[:, 0]) if binary else outputs
    complete = len(set(labels.tolist())) == len(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of K = C, and of predicted classes that do not occur
        return {
            "accuracy": sk.accuracy_score(labels, best),
            "top_1_accuracy": sk.top_k_accuracy_score(labels, ranked, k=1, labels=classes),
            "top_2_accuracy": sk.top_k_accuracy_score(labels, ranked, k=2, labels=classes),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, best),
            "macro_f1": sk.f1_score(labels, best, average="macro", zero_division=0),
            "roc_auc": sk.roc_auc_score(labels, ranked if binary else p, multi_class="ovr")
            if complete
            else None,
            "log_loss": sk.log_loss(labels, p, labels=classes),
            "calibration_error": calibration_error(p, labels),
        }


@quick
@given(classified())
def test_classification_is_as_scikit_learn_has_it(drawn):
    outputs, labels = drawn
    found = scored("classification", CLASSIFICATION, outputs, labels)
    assert tuple(found) == CLASSIFICATION
    alike(found, by_scikit_learn(outputs, labels), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_a_larger_sample_of_classification(classes):
    rng = np.random.default_rng(classes)
    labels = rng.integers(classes, size=3000)
    outputs = rng.normal(size=(3000, classes)) * 4 + 3 * np.eye(classes)[labels]
    found = scored("classification", CLASSIFICATION, outputs, labels, range(256, 3000, 256))
    assert found == pytest.approx(by_scikit_learn(outputs, labels), rel=1e-12)


@quick
@given(classified(), st.data())
def test_parts_of_any_size_make_no_difference(drawn, data):
    outputs, labels = drawn
    whole = scored("classification", CLASSIFICATION, outputs, labels)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(labels)))))
    single = range(1, len(labels))
    for parts in (cuts, single):
        found = scored("classification", CLASSIFICATION, outputs, labels, parts)
        alike(found, whole, rel=1e-12)


@quick
@given(numbers(), st.data())
def test_regression_is_as_scikit_learn_has_it_in_any_parts(drawn, data):
    outputs, labels = drawn
    right = {
        "mean_squared_error": sk.mean_squared_error(labels, outputs),
        "mean_absolute_error": sk.mean_absolute_error(labels, outputs),
        "r2": sk.r2_score(labels, outputs) if len(labels) > 1 else None,
    }
    cuts = sorted(data.draw(st.lists(st.integers(0, len(labels)))))
    for parts in ((), cuts, range(1, len(labels))):
        found = scored("regression", REGRESSION, outputs, labels, parts)
        alike(found, right, rel=1e-10)


def test_r2_does_not_cancel_where_the_mean_is_large():
    rng = np.random.default_rng(0)
    labels = 1e9 + rng.normal(size=(400, 1))
    outputs = labels + 0.1 * rng.normal(size=(400, 1))
    exact = [Fraction(value) for value in labels[:, 0]]
    mean = sum(exact) / len(exact)
    residual = sum((Fraction(o) - y) ** 2 for o, y in zip(outputs[:, 0], exact, strict=True))
    right = float(1 - residual / sum((y - mean) ** 2 for y in exact))
    for cuts in ((), range(1, 400), range(7, 400, 7)):
        found = scored("regression", ["r2"], outputs, labels, cuts)
        assert found["r2"] == pytest.approx(right, rel=1e-12)


@pytest.mark.parametrize("cuts", [(), (1, 2)])
def test_r2_of_labels_that_are_all_equal_counts_1_or_0(cuts):
    # 0.1 + 0.1 + 0.1 is not 3 × 0.1, so a variance from sums would not be 0 here.
    labels = np.full((3, 2), 0.1)
    outputs = np.array([[0.1, 0.1], [0.1, 0.2], [0.1, 0.3]])
    assert scored("regression", ["r2"], outputs, labels, cuts) == {"r2": 0.5}


def test_logits_of_ten_thousand_neither_overflow_nor_lose_the_loss():
    outputs = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]])
    labels = np.array([0, 1, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scored("classification", CLASSIFICATION, outputs, labels)
    assert found["log_loss"] == pytest.approx((0 + 2e4 + np.log(2) + np.log(3)) / 4, rel=1e-14)
    assert found["accuracy"] == 0.25
    # Tops 1, 1, 1/2, 1/3, each in a bin of its own but the first two; the first one is right.
    assert found["calibration_error"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 4, rel=1e-14)


def test_among_equal_logits_the_first_is_predicted_and_the_last_is_ranked_first():
    outputs = np.zeros((3, 3))
    names = ["accuracy", "top_1_accuracy", "top_2_accuracy", "top_3_accuracy"]
    for label, right in ((0, [1, 0, 0, 1]), (1, [0, 0, 1, 1]), (2, [0, 1, 1, 1])):
        found = scored("classification", names, outputs, np.full(3, label))
        assert list(found.values()) == right


def test_the_area_of_two_classes_sees_margins_that_probabilities_round_away():
    outputs = np.array(
        [[0.0, 40.0], [0.0, 50.0], [0.0, 60.0]]
    )  # class 1 has probability 1.0 thrice
    assert scored("classification", ["roc_auc"], outputs, np.array([0, 1, 1])) == {"roc_auc": 1.0}


@pytest.mark.parametrize(
    ("classes", "labels"), [(2, [1, 1, 1]), (3, [0, 1, 0]), (3, [2, 2, 2]), (1, [0, 0, 0])]
)
def test_an_absent_class_leaves_roc_auc_undefined_and_nothing_else(classes, labels):
    names = ["roc_auc", "accuracy", "balanced_accuracy", "macro_f1", "log_loss"]
    outputs = np.arange(3.0 * classes).reshape(3, classes)
    found = scored("classification", names, outputs, np.array(labels))
    assert found.pop("roc_auc") is None
    assert None not in found.values()


@pytest.mark.parametrize(
    ("objective", "names"),
    [("classification", CLASSIFICATION), ("regression", REGRESSION), ("causal_lm", LANGUAGE)],
)
def test_no_rows_or_outputs_that_are_no_numbers_have_no_metrics(objective, names):
    labels = np.zeros((2, 3)) if objective == "regression" else np.array([0, 1])
    scores = Scores(objective, names, 3)
    scores.add(np.zeros((0, 3)), labels[:0])
    assert scores.result() == dict.fromkeys(names)
    for bad in (np.nan, np.inf, -np.inf):
        scores = Scores(objective, names, 3)
        for outputs in ([[1, 2, 3], [1, 2, 3]], [[1, 2, 3], [1, bad, 3]], [[1, 2, 3], [1, 2, 3]]):
            scores.add(np.array(outputs, dtype=np.float64), labels)
        assert scores.result() == dict.fromkeys(names)


def test_numbers_too_large_to_be_squared_have_no_squared_error():
    outputs, labels = np.array([[1e200], [1.0]]), np.array([[-1e200], [2.0]])
    found = scored("regression", REGRESSION, outputs, labels)
    assert found["mean_absolute_error"] == pytest.approx(1e200)
    assert found["mean_squared_error"] is found["r2"] is None


def test_perplexity_is_the_same_from_sums_and_from_logits():
    rng = np.random.default_rng(1)
    outputs, labels = rng.normal(size=(50, 7)), rng.integers(7, size=50)
    losses = -np.log(softmax(outputs, axis=1))[np.arange(50), labels]
    right = {
        "accuracy": (outputs.argmax(axis=1) == labels).mean(),
        "perplexity": np.exp(losses.mean()),
    }
    assert scored("masked_lm", LANGUAGE, outputs, labels, [9, 10]) == pytest.approx(right)
    scores = Scores("masked_lm", LANGUAGE, 7)
    for part in (slice(0, 9), slice(9, 50)):
        correct = int((outputs[part].argmax(axis=1) == labels[part]).sum())
        scores.add_sums(Sums(float(losses[part].sum()), correct, len(labels[part])))
    assert scores.result() == pytest.approx(right)


def test_a_perplexity_that_no_float_holds_is_undefined():
    scores = Scores("causal_lm", LANGUAGE, 10)
    scores.add_sums(Sums(7100.0, 3, 10))
    assert scores.result() == {"accuracy": 0.3, "perplexity": None}
    scores.add_sums(Sums(float("nan"), 0, 10))
    assert scores.result() == {"accuracy": None, "perplexity": None}


def test_sums_do_not_do_for_other_objectives():
    with pytest.raises(ValueError, match="classification"):
        Scores("classification", ["accuracy"], 3).add_sums(Sums(1.0, 1, 2))


@pytest.mark.parametrize(
    ("objective", "names", "rows"),
    [
        ("classification", tuple(n for n in CLASSIFICATION if n != "roc_auc"), 4),
        ("regression", REGRESSION, (4, 5)),
        ("causal_lm", LANGUAGE, 4),
    ],
)
def test_memory_does_not_grow_with_the_rows(objective, names, rows):
    scores = Scores(objective, names, 5)
    labels = np.ones(rows, dtype=np.int64)
    scores.add(np.eye(4, 5), labels)
    before = len(pickle.dumps(scores))
    for _ in range(300):
        scores.add(np.eye(4, 5), labels)
    assert len(pickle.dumps(scores)) < before + 50  # larger whole numbers


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (np.zeros((2, 3)), np.zeros(2, dtype=int)),
        (np.zeros((2, 2)), np.zeros(3, dtype=int)),
        (np.zeros(2), np.zeros(2, dtype=int)),
        (np.zeros((2, 2)), np.array([0, 2])),
        (np.zeros((2, 2)), np.array([-1, 0])),
    ],
)
def test_arrays_that_do_not_fit_are_never_taken_in(outputs, labels):
    scores = Scores("classification", ["accuracy"], 2)
    with pytest.raises(ValueError, match=r"classification|classes"):
        scores.add(outputs, labels)
    assert scores.result() == {"accuracy": None}


@pytest.mark.parametrize(
    ("names", "objective", "words"),
    [
        (["acuracy"], "classification", ["'acuracy'", "Did you mean 'accuracy'", "macro_f1"]),
        (["top5_accuracy"], "classification", ["Did you mean 'top_5_accuracy'"]),
        (["top_0_accuracy"], "classification", ["unknown", "top_K_accuracy", "number from 1"]),
        (["top_K_accuracy"], "classification", ["unknown", "number from 1"]),
        (["top_" + "9" * 9999 + "_accuracy"], "classification", ["unknown"]),
        (["top_6_accuracy"], "classification", ["'top_6_accuracy'", "5 classes", "1 to 5"]),
        (["r2"], "classification", ["'r2'", "regression", "roc_auc"]),
        (["accuracy"], "regression", ["classification", "causal_lm", "mean_absolute_error, r2"]),
        (["log_loss"], "causal_lm", ["classification", "perplexity"]),
        (["accuracy", "accuracy"], "classification", ["'accuracy'", "once"]),
        (["r2", "top_9_accuracy", "f1"], "classification", ["'r2'", "5 classes", "'f1'"]),
    ],
)
def test_names_that_cannot_be_are_refused_in_words(names, objective, words):
    for attempt in (lambda: validate(names, objective, 5), lambda: Scores(objective, names, 5)):
        with pytest.raises(SpecError) as caught:
            attempt()
        for word in words:
            assert word in str(caught.value)
        assert len(str(caught.value)) < 1000


def test_every_metric_of_the_table_is_tested_here():
    tested = {*CLASSIFICATION, *REGRESSION, *LANGUAGE} - {"top_1_accuracy", "top_2_accuracy"}
    assert tested | {"top_K_accuracy"} == set(METRICS)
    validate(["top_5_accuracy", *CLASSIFICATION], "classification", 5)
    validate(REGRESSION, "regression", 1)
    validate(LANGUAGE, "masked_lm", 1000)


@pytest.mark.parametrize("name", ["accuracy", "top_3_accuracy", "macro_f1", "roc_auc", "r2"])
def test_a_larger_share_is_better(name):
    assert larger_is_better(name)
    assert better(name, 0.6, 0.5)
    assert not better(name, 0.5, 0.5)
    assert not better(name, 0.6, 0.5, min_delta=0.2)


@pytest.mark.parametrize("name", ["loss", "log_loss", "mean_absolute_error", "perplexity"])
def test_a_smaller_error_is_better(name):
    assert not larger_is_better(name)
    assert better(name, 0.5, 0.6)
    assert not better(name, 0.6, 0.6)
    assert not better(name, 0.5, 0.6, min_delta=0.2)


@pytest.mark.parametrize("undefined", [None, float("nan")])
@pytest.mark.parametrize("name", ["roc_auc", "perplexity"])
def test_any_number_is_better_than_none_at_all(name, undefined):
    assert better(name, 0.1, undefined)
    assert not better(name, undefined, 0.1)
    assert not better(name, undefined, undefined)


def test_better_knows_its_names():
    with pytest.raises(SpecError, match="Did you mean 'accuracy'"):
        better("acuracy", 1, 0)
