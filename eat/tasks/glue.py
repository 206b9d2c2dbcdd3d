"""The GLUE tasks (Wang et al. 2019, arXiv:1804.07461) that have public labels and enough rows to train on.

Test labels are not public, so the validation splits are the reported ones. Column names, label names and label order
are those of the Hugging Face set.
"""

from collections.abc import Mapping

from eat.tasks.public import PublicTask
from eat.tasks.sources import Source

_ENTAILMENT = ("entailment", "not_entailment")
_SENTENCES = ("sentence1", "sentence2")


def sst2() -> PublicTask:
    """Build SST-2: phrases of film reviews, negative or positive."""
    return _glue("sst2", ("sentence",), ("negative", "positive"), ("accuracy",), train=67_349, validation=872)


def cola() -> PublicTask:
    """Build CoLA: is this an acceptable English sentence."""
    names = ("unacceptable", "acceptable")
    return _glue("cola", ("sentence",), names, ("matthews", "accuracy"), train=8_551, validation=1_043)


def qqp() -> PublicTask:
    """Build QQP: do two Quora questions ask the same. The EAT paper reports accuracy, GLUE accuracy and F1."""
    names = ("not_duplicate", "duplicate")
    return _glue("qqp", ("question1", "question2"), names, ("accuracy", "f1"), train=363_846, validation=40_430)


def mrpc() -> PublicTask:
    """Build MRPC: do two sentences of the news paraphrase each other."""
    names = ("not_equivalent", "equivalent")
    return _glue("mrpc", _SENTENCES, names, ("f1", "accuracy"), train=3_668, validation=408)


def mnli() -> PublicTask:
    """Build MNLI: does the premise entail the hypothesis; in the genres of train (matched) and in others."""
    rows = {"train": 392_702, "validation_matched": 9_815, "validation_mismatched": 9_832}
    return _glue("mnli", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), ("accuracy",), **rows)


def qnli() -> PublicTask:
    """Build QNLI: does the sentence answer the question."""
    return _glue("qnli", ("question", "sentence"), _ENTAILMENT, ("accuracy",), train=104_743, validation=5_463)


def rte() -> PublicTask:
    """Build RTE: does the first text entail the second."""
    return _glue("rte", _SENTENCES, _ENTAILMENT, ("accuracy",), train=2_490, validation=277)


def stsb() -> PublicTask:
    """Build STS-B: how similar are two sentences, from 0 to 5 (regression)."""
    return _glue("stsb", _SENTENCES, (), ("pearson", "spearman"), train=5_749, validation=1_500)


def _glue(
    name: str, columns: tuple[str, ...], label_names: tuple[str, ...], metrics: tuple[str, ...], **official_rows: int
) -> PublicTask:
    rows: Mapping[str, int] = official_rows
    return PublicTask(
        name=name,
        source=Source(folder=f"glue/{name}", hub_path="nyu-mll/glue", hub_config=name),
        source_columns=columns,
        source_label="label",
        label_names=label_names,
        metrics=metrics,
        official_rows=rows,
    )
