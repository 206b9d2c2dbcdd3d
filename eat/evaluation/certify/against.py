"""What may be compared in a certificate: other runs, and a dense run as the reference that a user gives up."""

from eat.checks import shown
from eat.traces.run_traces import RunTraces
from eat.traces.splits import split_fingerprint


def check_rows(other: RunTraces, run: RunTraces, split: str, argument: str) -> None:
    """Check that another run answers the rows of a run's split, in order.

    Labels alone do not tell: of data sorted by class, every draw has the same. Rows are the same where all data are, or
    labels and lengths.

    Raises:
        ValueError: If they are other rows.
    """
    own = run.splits[split]
    theirs = other.same_examples(split, own, argument)
    data = [trace.metadata.get("data_fingerprint") for trace in (theirs, own)]
    if (None in data or data[0] != data[1]) and split_fingerprint(theirs) != split_fingerprint(own):
        raise ValueError(
            f"{argument}: its trace must answer the same {len(own)} examples of {shown(split)}, in order; they have "
            "other lengths: train both on the same data, held out alike, with the same seed"
        )


def check_reference(reference: RunTraces, run: RunTraces) -> None:
    """Check that a reference answers the rows of a run, in order: of the held-out splits and of the reported one.

    Raises:
        ValueError: If a split is missing, or the data or the classes are others.
    """
    for split in ("threshold", "certification", run.main):
        own = run.splits.get(split)
        if own is None:
            continue  # which `check_splits` says of the run itself
        theirs = reference.same_examples(split, own, f"certify.reference: {reference.name}")
        data = [trace.metadata.get("data_fingerprint") for trace in (theirs, own)]
        if None in data or data[0] != data[1]:
            raise ValueError(
                f"certify.reference: {reference.name} answers other data than {run.name} in {split} (fingerprints "
                f"{data[0]} and {data[1]}); train both on the same data, held out alike, with the same seed"
            )
        if theirs.task.label_names != own.task.label_names:
            raise ValueError(
                f"certify.reference: expected the classes {shown(own.task.label_names)}, {reference.name} has "
                f"{shown(theirs.task.label_names)}"
            )
