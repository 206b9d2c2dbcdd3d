"""CLINC150 (Larson et al. 2019): 150 intents of a voice assistant and the class ``oos`` for what is out of scope."""

from importlib.resources import files

from eat.tasks.public import PublicTask
from eat.tasks.sources import Source

OUT_OF_SCOPE = "oos"

# The order of the Hugging Face set; a source with another order is matched by name.
_INTENTS = (files("eat.tasks") / "clinc150.txt").read_text(encoding="utf-8")


def clinc150() -> PublicTask:
    """Build CLINC150 in its "plus" configuration, where training has 250 queries that are out of scope.

    Beside accuracy over all 151 classes it reports accuracy on queries in scope and the recall of ``oos``.
    """
    return PublicTask(
        name="clinc150",
        source=Source(folder="clinc_oos/plus", hub_path="clinc/clinc_oos", hub_config="plus"),
        source_columns=("text",),
        source_label="intent",
        label_names=tuple(_INTENTS.split()),
        metrics=("accuracy", "in_scope_accuracy", "oos_recall"),
        official_rows={"train": 15_250, "validation": 3_100, "test": 5_500},
    )
