"""`eat predict`: what it says, where its answers go, and what it refuses in a line before anything is written."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eat.cli import predict
from tests.deployment.predictions import make_run, make_texts, read_rows, write_rows

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("predict") / "run")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in.csv", [{"id": i, "text": text} for i, text in enumerate(make_texts(9))])


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Call:
    """Run the command; return its exit code and what it wrote to stdout and stderr."""

    def run_command(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["eat predict", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(named := io.BytesIO(stdin)))
        named.mode, named.name = "rb", "<stdin>"  # type: ignore[attr-defined]
        code = 0
        try:
            predict.main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run_command


def test_it_answers_a_file_and_says_what_came_out(run: Path, source: Path, call: Call, tmp_path: Path) -> None:
    code, out, err = call(
        f"model={run}", f"input={source}", f"output={tmp_path}/new/out.parquet", "keep=[id]", "cache=9"
    )
    assert (code, out) == (0, "") and err.startswith("9 rows, mean exit depth ")
    rows = read_rows(tmp_path / "new" / "out.parquet")
    assert [row["id"] for row in rows] == [*map(str, range(9))]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.parquet"]


def test_standard_input_and_output_are_a_pipe(run: Path, call: Call) -> None:
    code, out, err = call(f"model={run}/model", "input=-", "output=-", stdin=b"good film\nbad soup\n")
    assert code == 0 and err.startswith("2 rows")
    assert [[*json.loads(line)] for line in out.splitlines()] == [["label", "score", "exit_depth", "retention"]] * 2
    arguments = ["input_format=jsonl", "output_format=csv", "text=body", "keep=[n]"]
    code, out, _ = call(f"model={run}", "input=-", "output=-", *arguments, stdin=b'{"body": "good", "n": 7}\n')
    assert out.splitlines()[0] == "n,label,score,exit_depth,retention" and out.splitlines()[1].startswith("7,")


def test_a_reader_that_has_enough_is_no_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(predict, "predict_file", break_off)
    assert call("model=x", "input=-", "output=-") == (141, "", "")


def test_unreadable_rows_end_in_an_error_where_they_are_refused(run: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,id\ngood,1\nbad\n")
    arguments = [f"model={run}", f"input={tmp_path}/in.csv", f"output={tmp_path}/out.csv"]
    code, _, err = call(*arguments)
    assert code == 0 and "have no answer: 1\n  row 2: " in err
    code, _, err = call(*arguments, "unreadable=refuse", "fresh=true")
    assert code == 1 and "error: unreadable: expected rows that can be read, got 1 that cannot, of 2" in err
    assert len(read_rows(tmp_path / "out.csv")) == 2


REFUSED = [
    (["input={in}"], "output: expected a file, or - for standard output, got none"),
    (["output=x.csv", "input=nowhere.csv"], "input: no file nowhere.csv"),
    (["input={in}", "output={in}"], "output: expected another file than the input"),
    (["input={in}", "output=x.xlsx"], "output: expected a file ending in .csv, .jsonl, .parquet, got 'x.xlsx'"),
    (["input={in}", "output={folder}/in.csv/x.csv"], "output: cannot write "),
    (["input={folder}/empty.csv", "output=x.csv"], "input: {folder}/empty.csv is empty"),
    (["input={folder}/blank.jsonl", "output=x.csv"], "input: {folder}/blank.jsonl has no rows"),
    (
        ["input={folder}/odd.json", "output=x.csv"],
        "input: expected a file ending in .csv, .tsv, .jsonl, .parquet, .txt",
    ),
    (["input={folder}/not.parquet", "output=x.csv"], "input: {folder}/not.parquet: not readable as Parquet"),
    (["input={in}", "text=body"], "text: {in} has no column 'body'; it has ['id', 'text']"),
    (["input={in}", "keep=[idd]"], "keep: {in} has no column 'idd'; it has ['id', 'text'] (did you mean keep=id?)"),
    (["input={folder}/lines.jsonl", "text=body"], "text: {folder}/lines.jsonl has no column 'body'; it has ['txt']"),
    (
        ["input={folder}/open.csv"],
        "input: {folder}/open.csv, line 2: broken row: unexpected end of data: a double quote opens",
    ),
    (["input={in}", "engine=onnx"], "model: expected an exported folder for engine=onnx, {run}/model is a saved model"),
    (
        ["input={in}", "engine=onx"],
        "engine: expected one of ['bf16', 'int8', 'onnx', 'onnx_int8', 'onnx_static', 'torch'], got 'onx'",
    ),
    (["input={in}", "guard=true"], "model: expected a certified one, got none"),
    (["input={in}", "guard=true", "engine=int8"], "guard: expected engine=torch"),
    (["input={in}", "treads=2"], "treads: no such key of this command (did you mean 'threads'?)"),
    (["input={in}", "window=0"], "window: expected an integer of 1 or more, got 0"),
    (["input={in}", "model={folder}"], "model: expected a run's folder, a saved model's (config.json) or an exported"),
    (["input={folder}/lines.jsonl", "model=nowhere"], "model: no folder nowhere"),  # before its columns are looked for
    (["input={in}", "model={folder}/begun"], "model: {folder}/begun is a run without model/"),
    (["input=-", "input_format=parquet"], "input_format: expected csv, tsv, jsonl or text from standard input"),
    (["input={in}", "output=-", "output_format=parquet"], "output_format: expected csv or jsonl on standard output"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    run: Path, source: Path, call: Call, tmp_path: Path, arguments: list[str], said: str
) -> None:
    files = {
        "empty.csv": "",
        "blank.jsonl": "\n\n",
        "odd.json": "{}",
        "not.parquet": "no",
        "lines.jsonl": '{"txt": "good"}\n',
        "open.csv": 'text\n"good\nbad\n',
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("{}")
    places = {"in": source, "folder": tmp_path, "run": run}
    typed = [argument.format(**places) for argument in arguments]
    named = {argument.partition("=")[0] for argument in typed}
    typed += [f"model={run}"] if "model" not in named else []
    typed += [f"output={tmp_path}/x.csv"] if "output" not in named and said[:6] != "output" else []
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call(*typed)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {said.format(**places)}") and len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before and not Path("x.csv").exists()


def truncated(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def tampered(model: Path) -> None:
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)


def newer(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"engine": {"name": "int4", "activation_bits": 4}}))


def other(model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "bert"}')


def without(name: str) -> Callable[[Path], None]:
    return lambda model: (model / name).unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "model.safetensors is damaged"),
        (tampered, "the weights are not those that were saved with this config.json"),
        (newer, "was it saved by a newer version?"),
        (other, "expected a model that eat saved"),
        (without("model.safetensors"), "has no model.safetensors; take a whole copy"),
        (without("tokenizer.json"), "has no tokenizer.json; take a whole copy"),
    ],
)
def test_a_damaged_model_is_one_line(
    run: Path, source: Path, call: Call, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    damage(tmp_path / "model")
    code, _, err = call(f"model={tmp_path}/model", f"input={source}", f"output={tmp_path}/x.csv")
    (line,) = err.splitlines()
    assert code == 1 and line.startswith("error: ") and said in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "model"]
