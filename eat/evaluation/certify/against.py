"""A dense run as the reference of a certificate: the model that a user gives up for the adaptive one."""

from eat.checks import shown
from eat.traces.run_traces import RunTraces


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
