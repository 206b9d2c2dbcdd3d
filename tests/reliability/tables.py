"""Kind ``tables``: a user's file in any dialect gives back its rows, or one line that says what is wrong with it.

An input is one file. Rows are drawn, written by a writer of its own, sometimes broken, and read through `task=file`.
"""

from __future__ import annotations

import atexit
import io
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eat.tasks.file import FileTask
from tests.reliability.campaign import Case
from tests.reliability.refusals import REFUSED, attempt

FOLDER = Path(tempfile.mkdtemp(prefix="eat-tables-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)  # of the process that imports, not of a forked one
PIECES = (
    "good",
    "bad",
    "a",
    " ",
    "  ",
    "ü",
    "日本",
    "😀",
    '"',
    "'",
    ",",
    ";",
    "\t",
    "|",
    "\\",
    "#",
    "%",
    "0",
    "-1",
    "\r",
    "\n",
)
PIECES += ("\x0b", "\u2028", "\xa0", "NaN", "null", "<s>", "[CLS]", "{", "=", "\x1a", "ﬁ", "\u200f", "e\u0301")
LABELS = (
    ["a", "b"],
    ["0", "1"],
    ["no", "yes", "maybe"],
    ["-1", "0", "1"],
    ["true", "false"],
    ["x y", "z,w"],
    ["ü", "ß"],
)
FORMATS = ("csv", "tsv", "jsonl", "parquet")
Row = dict[str, Any]


def check_table(case: Case) -> None:
    """Write random rows, perhaps break the file, and read it."""
    draw = case.random
    kind = draw.choice(FORMATS)
    rows = random_rows(draw, kind)
    path = FOLDER / f"train.{kind}"
    data = WRITERS[kind](draw, rows)
    broken = draw.random() < 0.45
    if broken:
        data = damaged(draw, data)
    path.write_bytes(data)
    case.count(inputs=1, **{kind: 1, "damaged" if broken else "whole": 1})
    given = {"text": "text", "label": "label", "validation": path}
    task = attempt(
        case,
        lambda: _read(FileTask(path, **given)),
        ["data.", path.name, "task"],
        f"a {'damaged' if broken else 'whole'} {kind} file",
    )
    if broken or (task is REFUSED and len({row["label"] for row in rows}) < 2):
        return
    if task is REFUSED:
        case.fail(f"a whole {kind} file was refused", data[:200])
        return
    texts, labels = task
    if texts != [row["text"] for row in rows]:
        case.fail(f"other texts than were written in {kind}", f"{texts[:3]} for {[row['text'] for row in rows][:3]}")
    elif labels != [row["label"].strip() for row in rows]:
        case.fail(
            f"other labels than were written in {kind}", f"{labels[:5]}, written {[r['label'] for r in rows][:5]}"
        )


def _read(task: FileTask) -> tuple[list[str], list[str]]:
    rows = task.load()["train"]
    return rows["text"][:], [task.label_names[label] for label in rows["label"][:]]


def random_rows(draw: random.Random, kind: str) -> list[Row]:
    """Draw rows with text, label and further columns."""
    labels = draw.choice(LABELS)
    count = draw.choice([2, 5, 12, 30])
    more = draw.sample(["id", "", "Unnamed: 0", "text_2", "LABEL", "ü"], draw.randint(0, 2))
    rows = []
    for number in range(count):
        label = labels[number % len(labels)] if number < len(labels) else draw.choice(labels)
        text = "".join(draw.choice(PIECES) for _ in range(draw.randint(0, 8)))
        row = {"text": text, "label": label, **{name: draw.choice(["", "x", str(number)]) for name in more}}
        rows.append({name: row[name] for name in draw.sample(list(row), len(row))} if kind == "jsonl" else row)
    return rows


def write_delimited(draw: random.Random, rows: list[Row], delimiter: str) -> bytes:
    """Write RFC 4180: quotes where they are needed, or everywhere; with or without BOM and last line break."""
    newline = draw.choice(["\n", "\r\n"])
    everywhere = draw.random() < 0.3

    def field(value: str) -> str:
        needs = everywhere or not value or any(c in value for c in (delimiter, '"', "\n", "\r"))
        return '"' + value.replace('"', '""') + '"' if needs else value

    names = draw.sample(list(rows[0]), len(rows[0]))
    lines = [delimiter.join(map(field, names))] + [delimiter.join(field(row[name]) for name in names) for row in rows]
    text = newline.join(lines) + (newline if draw.random() < 0.8 else "")
    return (b"\xef\xbb\xbf" if draw.random() < 0.2 else b"") + text.encode()


def write_jsonl(draw: random.Random, rows: list[Row]) -> bytes:
    """Write one object a line, escaped or not, with blank lines between."""
    escaped = draw.random() < 0.5
    lines = [json.dumps(row, ensure_ascii=escaped) for row in rows]
    return (draw.choice(["\n", "\r\n", "\n\n"]).join(lines) + draw.choice(["", "\n"])).encode()


def write_parquet(draw: random.Random, rows: list[Row]) -> bytes:
    """Write Parquet with plain, large or dictionary strings, in row groups."""
    kind = draw.choice([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
    columns = {name: pa.array([row[name] for row in rows], pa.string()).cast(kind) for name in rows[0]}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, row_group_size=draw.choice([1, 7, None]))
    return buffer.getvalue()


WRITERS = {
    "csv": lambda draw, rows: write_delimited(draw, rows, ","),
    "tsv": lambda draw, rows: write_delimited(draw, rows, "\t"),
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


def damaged(draw: random.Random, data: bytes) -> bytes:
    """Break bytes as disks, editors and programs do."""
    place = draw.randrange(len(data) + 1)
    how = draw.randrange(9)
    if how == 0:
        return data[:place]
    if how == 1:
        return data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :]
    if how == 2:
        return data[:place] + draw.choice([b"\0", b'"', b"\xff", b",", b"\r", b"{", b"]", b"NaN", b"\n"]) + data[place:]
    if how == 3:
        return data[place:]
    if how == 4:
        return data.decode("utf-8", "replace").encode(draw.choice(["utf-16", "utf-32", "latin-1"]), "replace")
    if how == 5:
        return data[:place] + data[: draw.randrange(200)] + data[place:]
    if how == 6:
        return b""
    if how == 7:
        lines = data.split(b"\n")
        draw.shuffle(lines)
        return b"\n".join(lines)
    return draw.randbytes(draw.randrange(400))
