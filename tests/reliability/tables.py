"""Kind ``tables``: a user's file in any dialect gives back its rows, or one line that says what is wrong with it.

An input is one file. Rows are drawn, written by a writer of its own, sometimes broken, and read through `task=file`.
"""

from __future__ import annotations

import atexit
import dataclasses
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
from eat.tasks.labels import UNLABELLED
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


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Rows as they are written, what is said of their columns, and what must be read."""

    rows: list[Row]
    options: Row  # of `FileTask`
    labels: list[set[str] | None]  # of each row, in a set also where it is one class; None where it has no label
    least: int = 2  # different labels without which a file is refused

    @property
    def expected(self) -> list[tuple[str, set[str]]] | None:
        """Text and labels of the rows that are read; None where the file is refused."""
        kept = [(row, labels) for row, labels in zip(self.rows, self.labels, strict=True) if labels is not None]
        if len(kept) < len(self.rows) and self.options["unlabelled"] != "drop":
            return None
        if not kept or len({name for _, labels in kept for name in labels}) < self.least:
            return None
        columns, separator = self.options["text"], self.options.get("separator", " ")
        columns = [columns] if isinstance(columns, str) else columns
        return [(separator.join(row[column] for column in columns), labels) for row, labels in kept]


def check_table(case: Case) -> None:
    """Write random rows, perhaps break the file, and read it."""
    draw = case.random
    kind, labelled = draw.choice(FORMATS), draw.choice([classes, classes, label_names, label_columns])
    drawn = labelled(draw, kind)
    path = FOLDER / f"train.{kind}"
    data = WRITERS[kind](draw, drawn.rows)
    broken = draw.random() < 0.45
    if broken:
        data = damaged(draw, data)
    path.write_bytes(data)
    state = "damaged" if broken else "whole"
    case.count(inputs=1, **{kind: 1, state: 1, labelled.__name__: 1})
    read = attempt(
        case,
        lambda: _read(FileTask(path, validation=path, **drawn.options)),
        ["data.", path.name, "task"],
        f"a {state} {kind} file",
    )
    expected = drawn.expected
    if broken or (read is REFUSED and expected is None):
        return
    if read is REFUSED:
        case.fail(f"a whole {kind} file with {labelled.__name__} was refused", data[:200])
    elif expected is None:
        case.fail(f"{labelled.__name__}: a {kind} file that should be refused was read", drawn.options)
    elif [text for text, _ in read] != [text for text, _ in expected]:
        case.fail(f"other texts than were written in {kind}", f"{read[:3]} for {expected[:3]}")
    elif read != expected:
        differ = [pair for pair in zip(read, expected, strict=True) if pair[0] != pair[1]]
        case.fail(f"{labelled.__name__}: other labels than were written in {kind}", f"{differ[:3]}")


def _read(task: FileTask) -> list[tuple[str, set[str]]]:
    rows, names = task.load()["train"], task.label_names
    labels = rows["label"][:]
    if task.kind == "multi_label":
        sets = [{name for name, has in zip(names, row, strict=True) if has} for row in labels]
    else:
        sets = [{names[label]} for label in labels]
    return list(zip(rows["text"][:], sets, strict=True))


def classes(draw: random.Random, kind: str) -> Drawn:
    """Draw rows of one class each; some may have none."""
    known, blank = draw.choice(LABELS), draw.choice([0, 0, 0, 0.2])
    count = draw.choice([2, 5, 12, 30])
    labels = [known[number] if number < len(known) else draw.choice(known) for number in range(count)]
    labels = [" " * draw.randint(0, 1) if draw.random() < blank else label for label in labels]
    unlabelled = draw.choice(UNLABELLED)
    read: list[set[str] | None] = [{label.strip()} if label.strip() else None for label in labels]
    if unlabelled != "keep" and {"0", "1"} <= {*labels}:
        read = [None if label == {"-1"} else label for label in read]
    rows, options = random_rows(draw, [{"label": label} for label in labels])
    return Drawn(rows, options | {"label": "label", "unlabelled": unlabelled}, read)


def label_names(draw: random.Random, kind: str) -> Drawn:
    """Draw rows with any number of labels, named in one column: with a separator, or as a list where that is one."""
    separator, named = draw.choice([(",", ","), (";", "semicolon"), ("|", "|"), (" / ", " / "), ("\t", "tab")])
    known = [name for name in draw.choice(LABELS) if separator not in name]
    lists = draw.random() < (0.5 if kind in ("jsonl", "parquet") else 0)
    as_json = draw.random() < 0.3
    read: list[set[str] | None] = []
    written: list[Row] = []
    for _ in range(draw.choice([2, 5, 12, 30])):
        names = draw.sample(known, draw.randint(0, len(known)))
        nothing = kind in ("jsonl", "parquet") and draw.random() < 0.05
        text = json.dumps(names, ensure_ascii=draw.random() < 0.5) if as_json else separator.join(names)
        written.append({"label": None if nothing else names if lists else text})
        read.append(None if nothing else {*names})
    rows, options = random_rows(draw, written)
    options |= {"label": "label", "kind": "multi_label", "label_separator": named}
    return Drawn(rows, options | {"unlabelled": draw.choice(UNLABELLED)}, read)


def label_columns(draw: random.Random, kind: str) -> Drawn:
    """Draw rows with a column for each label, which holds whether it applies."""
    columns = draw.sample(["toxic", "ß", "a b", "0", "x,y", "label"], draw.randint(2, 4))
    no, yes = draw.choice([("0", "1"), ("false", "true"), ("False", "True"), ("0.0", "1.0")])
    blank = draw.choice([0, 0, 0.05])
    read: list[set[str] | None] = []
    written: list[Row] = []
    for _ in range(draw.choice([2, 5, 12, 30])):
        names = {name for name in columns if draw.random() < 0.4}
        row = {name: "" if draw.random() < blank else yes if name in names else no for name in columns}
        written.append(row)
        read.append(None if "" in row.values() else names)
    rows, options = random_rows(draw, written)
    return Drawn(rows, options | {"label": columns, "unlabelled": draw.choice(UNLABELLED)}, read, least=0)


def random_rows(draw: random.Random, labels: list[Row]) -> tuple[list[Row], Row]:
    """Draw text and further columns for rows with labels; say which columns are the text."""
    more = draw.sample(["id", "", "Unnamed: 0", "text_2", "LABEL", "ü"], draw.randint(0, 2))
    rows = []
    for number, given in enumerate(labels):
        text = "".join(draw.choice(PIECES) for _ in range(draw.randint(0, 8)))
        rows.append({"text": text, **given, **{name: draw.choice(["", "x", str(number)]) for name in more}})
    if "text_2" in more and draw.random() < 0.5:
        return rows, {"text": ["text_2", "text"], "separator": draw.choice([" ", "", " [SEP] ", "\n"])}
    return rows, {"text": "text"}


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
    mixed = draw.random() < 0.5  # keys in another order on each line
    rows = [{name: row[name] for name in draw.sample(list(row), len(row))} if mixed else row for row in rows]
    lines = [json.dumps(row, ensure_ascii=escaped) for row in rows]
    return (draw.choice(["\n", "\r\n", "\n\n"]).join(lines) + draw.choice(["", "\n"])).encode()


def write_parquet(draw: random.Random, rows: list[Row]) -> bytes:
    """Write Parquet with plain, large or dictionary strings, in row groups."""
    kind = draw.choice([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        lists = any(isinstance(value, list) for value in values)
        columns[name] = pa.array(values, pa.list_(pa.string())) if lists else pa.array(values, pa.string()).cast(kind)
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
