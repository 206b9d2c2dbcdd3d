"""Texts to predict in every format, and what a model answers to each alone."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer

from eat.models.classifier import AdaptiveForSequenceClassification
from tests.made.runs import WORDS, write_run

EXIT = {"name": "confidence", "threshold": 0.7243}  # between the first head's confidences
COLUMNS = ["label", "score", "exit_depth", "retention"]


def make_run(folder: Path, **options: Any) -> Path:
    """Write a run whose texts leave at different depths."""
    return write_run(folder, **{"exit": EXIT} | options)


def make_texts(num: int) -> list[str]:
    """Make different texts of 0 to 20 words."""
    return [" ".join(WORDS[(i * k * k + k) % len(WORDS)] for k in range(i % 21)) + f" film {i}" for i in range(num)]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows in the format that the name tells."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=7)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".txt":
        path.write_text("".join(f"{row['text']}\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            writer = csv.DictWriter(file, [*rows[0]], delimiter=delimiter, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read answered rows; numbers are numbers, whatever the format, and no answer is None."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _number(text: str) -> Any:
    try:
        return float(text) if text else None
    except ValueError:
        return text


def alone(run: Path, texts: Sequence[str | tuple[str, str]]) -> Iterator[tuple[Any, ...]]:
    """Yield label or value, score, exit depth and retention of each text, answered by the model's own call."""
    model = AdaptiveForSequenceClassification.from_pretrained(run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    for text in texts:
        columns = (text,) if isinstance(text, str) else text
        inputs = tokenizer(
            *columns, truncation="longest_first", max_length=model.backbone.max_length, return_tensors="pt"
        )
        with torch.inference_mode():
            output = model(inputs["input_ids"], token_type_ids=inputs["token_type_ids"])
        depth, kept = int(output.exit_depth), output.tokens_kept[0]
        best = int(output.logits.argmax())
        score = float(output.logits.softmax(1).max()) if len(output.logits[0]) > 1 else float(output.logits)
        yield model.config.id2label[best], score, depth, float(kept[depth - 1] / kept[0])


@contextmanager
def one_line(message: str) -> Iterator[None]:
    """Expect an error of the user's in one line."""
    with pytest.raises((ValueError, OSError, RuntimeError, ImportError), match=message) as caught:
        yield
    assert "\n" not in str(caught.value)
