"""The GLUE tasks (Wang et al. 2019, arXiv:1804.07461) that have public labels and enough rows to train on.

Test labels are not public, so the validation splits are the reported ones. Column names, label names and label order
are those of the Hugging Face set. Validation of QQP, MRPC, RTE and STS-B shares single texts with train, so only equal
pairs are kept together there.
"""

from eat.tasks.leakage import EITHER_TEXT, SAME_TEXT, LeakageRule, WholeSentences
from eat.tasks.public import PublicTask
from eat.tasks.sources import Source

_ENTAILMENT = ("entailment", "not_entailment")
_SENTENCES = ("sentence1", "sentence2")


def sst2() -> PublicTask:
    """Build SST-2: phrases of film reviews, negative or positive."""
    names = ("negative", "positive")
    return _glue("sst2", ("sentence",), names, ("accuracy",), WholeSentences(), train=67_349, validation=872)


def cola() -> PublicTask:
    """Build CoLA: is this an acceptable English sentence."""
    names, metrics = ("unacceptable", "acceptable"), ("matthews", "accuracy")
    return _glue("cola", ("sentence",), names, metrics, SAME_TEXT, train=8_551, validation=1_043)


def qqp() -> PublicTask:
    """Build QQP: do two Quora questions ask the same. The EAT paper reports accuracy, GLUE accuracy and F1."""
    columns, names = ("question1", "question2"), ("not_duplicate", "duplicate")
    return _glue("qqp", columns, names, ("accuracy", "f1"), SAME_TEXT, train=363_846, validation=40_430)


def mrpc() -> PublicTask:
    """Build MRPC: do two sentences of the news paraphrase each other."""
    names = ("not_equivalent", "equivalent")
    return _glue("mrpc", _SENTENCES, names, ("f1", "accuracy"), SAME_TEXT, train=3_668, validation=408)


def mnli() -> PublicTask:
    """Build MNLI: does the premise entail the hypothesis; in the genres of train (matched) and in others.

    Of matched validation, under 1 % of the premises stand in train.
    """
    columns, names = ("premise", "hypothesis"), ("entailment", "neutral", "contradiction")
    rows = {"train": 392_702, "validation_matched": 9_815, "validation_mismatched": 9_832}
    return _glue("mnli", columns, names, ("accuracy",), EITHER_TEXT, **rows)


def qnli() -> PublicTask:
    """Build QNLI: does the sentence answer the question. Of validation, no question stands in train."""
    columns = ("question", "sentence")
    return _glue("qnli", columns, _ENTAILMENT, ("accuracy",), EITHER_TEXT, train=104_743, validation=5_463)


def rte() -> PublicTask:
    """Build RTE: does the first text entail the second."""
    return _glue("rte", _SENTENCES, _ENTAILMENT, ("accuracy",), SAME_TEXT, train=2_490, validation=277)


def stsb() -> PublicTask:
    """Build STS-B: how similar are two sentences, from 0 to 5 (regression)."""
    return _glue("stsb", _SENTENCES, (), ("pearson", "spearman"), SAME_TEXT, train=5_749, validation=1_500)


def _glue(
    name: str,
    columns: tuple[str, ...],
    label_names: tuple[str, ...],
    metrics: tuple[str, ...],
    group_by: LeakageRule,
    **official_rows: int,
) -> PublicTask:
    source = Source(folder=f"glue/{name}", hub_path="nyu-mll/glue", hub_config=name)
    return PublicTask(name, source, columns, "label", label_names, metrics, official_rows, group_by)
