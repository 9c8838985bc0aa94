"""Many small trainings together: ``benchmarks/trials.py``."""

from __future__ import annotations

from measuring import Bars, Report
from measuring.options import Options

from sections.printed import printed, ratios

FAIR = (
    "The search: 200 trials of an MLP on the digits, each of five stratified folds, all of paribus "
    "run counted (validation after each epoch, a row of metrics for each optimizer step), against "
    "scikit-learn's cross_val_score over skorch's NeuralNetClassifier with the same sizes, "
    "batches, epochs and optimizer, on as many rows, in float32 and silent. The rival runs two "
    "trials, which are multiplied, because none depends on another. The same of a small CNN. "
    "Heads: fifteen linear layers as one computation against the same sessions one after another, "
    "the same plans. Both in one process on one thread, in turn, medians; in brackets by processor "
    "time."
)
QUICK = (
    "--trials", "4", "--rival-trials", "1", "--epochs", "1", "--repeats", "1", "--batch", "64",
    "--optimizers", "sgd", "--features", "384", "--cnn-trials", "2",
)  # fmt: skip


def measure(options: Options) -> Report:
    """Measure the search and the heads."""
    words = QUICK if options.quick else ("--repeats", str(options.turns(3)))
    words = (*words, "--device", options.device)
    table = printed("trials.py", words, options.threads)
    figure = Bars(
        "Many small trainings", "times as fast as one after another",
        {"": ratios(table, len(table.columns) - 1)}, 1.0,
    )  # fmt: skip
    return Report("Many small trainings", FAIR, [table], [figure], {})
