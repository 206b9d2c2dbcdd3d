"""What a model predicts for each example of a split at one operating point, as Parquet."""

import json
from itertools import compress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from eat.exits.points import OperatingPoint
from eat.files import replacing
from eat.ops.confidence import max_probability, sets_as_classes
from eat.traces.quality import predictions
from eat.traces.replay import replay
from eat.traces.trace import Trace

LINE = "line"
"""Column of a trace: where each example stands in the user's file."""


def prediction_table(trace: Trace, point: OperatingPoint) -> pa.Table:
    """Return a row for each example, in the split's order.

    Columns: ``row``, from 0; ``line``, where it stands in the user's file, of ``task=file`` alone; ``label`` and
    ``prediction``, the names of classes or scores; ``score``, the probability of what is predicted, in [0, 1], which a
    regression has none of; ``depth``, after which it leaves. Of a multi-label task ``label`` and ``prediction`` are
    lists of names, and ``score`` is the probability of the answer to the least sure label.
    """
    replayed = replay(trace, point)
    history = torch.from_numpy(replayed.logits).unsqueeze(0)
    predicted, labels = predictions(replayed.logits, trace.multi_label), trace.labels
    columns = {"row": pa.array(range(len(trace)))}
    if LINE in trace.columns:
        columns[LINE] = pa.array(trace.columns[LINE])
    if trace.is_regression:
        columns |= {"label": pa.array(labels), "prediction": pa.array(predicted)}
    else:
        names = trace.task.label_names
        for name, numbers in (("label", labels), ("prediction", predicted)):
            if trace.multi_label:
                columns[name] = pa.array(
                    [list(compress(names, row)) for row in numbers.tolist()], pa.list_(pa.string())
                )
            else:
                columns[name] = pa.array([names[number] for number in numbers.tolist()])
        answers = sets_as_classes(history) if trace.multi_label else history
        columns["score"] = pa.array(max_probability(answers)[0].numpy())
    columns["depth"] = pa.array(replayed.exit_depth)
    facts = {"task": trace.task.name, "split": trace.split, "exit": point.spec}
    return pa.table(columns).replace_schema_metadata({b"eat": json.dumps(facts).encode()})


def write_predictions(trace: Trace, point: OperatingPoint, path: Path) -> None:
    """Write what `prediction_table` returns, whole or not at all."""
    with replacing(path) as new:
        pq.write_table(prediction_table(trace, point), new, compression="zstd")
