"""IMDB film reviews (Maas et al. 2011): long texts, negative or positive."""

from eat.tasks.public import PublicTask
from eat.tasks.sources import Source


def imdb() -> PublicTask:
    """Build IMDB; the labelled test split is the reported one, the unlabelled third split is not read."""
    return PublicTask(
        name="imdb",
        source=Source(folder="imdb", hub_path="stanfordnlp/imdb"),
        source_columns=("text",),
        source_label="label",
        label_names=("neg", "pos"),
        metrics=("accuracy",),
        official_rows={"train": 25_000, "test": 25_000},
    )
