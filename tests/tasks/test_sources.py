"""Where public data is looked for, in which order, and what is said when it is not there."""

import urllib.error
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from datasets.exceptions import DatasetGenerationError

from eat.tasks import sources
from eat.tasks.sources import DataNotFoundError, Source, read_label_names, read_splits

SOURCE = Source(folder="glue/sst2", hub_path="nyu-mll/glue", hub_config="sst2")
ROWS = {"sentence": ["good", "bad"], "label": [1, 0]}


def write(root: Path, split: str, rows: dict[str, list]) -> None:
    path = root / SOURCE.folder / f"{split}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(rows).to_parquet(path)


def test_reads_the_named_root_and_keeps_the_order_of_splits(tmp_path: Path) -> None:
    write(tmp_path, "train", ROWS)
    write(tmp_path, "validation", {"sentence": ["fine"], "label": [1]})
    splits = read_splits(SOURCE, ["validation", "train"], root=tmp_path, cache_dir=tmp_path / "cache")
    assert list(splits) == ["validation", "train"]
    assert splits["train"].to_dict() == ROWS
    assert (tmp_path / "cache").is_dir()


def test_the_named_root_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "named", "train", ROWS)
    write(tmp_path / "environment", "train", {"sentence": ["other"], "label": [0]})
    monkeypatch.setenv("EAT_DATA_ROOT", str(tmp_path / "environment"))
    assert read_splits(SOURCE, ["train"], root=tmp_path / "named")["train"].num_rows == 2
    assert read_splits(SOURCE, ["train"])["train"]["sentence"][:] == ["other"]


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    write(tmp_path, "train", ROWS)
    assert read_splits(SOURCE, ["train"], root=tmp_path)["train"].num_rows == 2
    write(tmp_path, "train", {"sentence": ["one", "two", "three"], "label": [0, 1, 0]})
    assert read_splits(SOURCE, ["train"], root=tmp_path)["train"].num_rows == 3


@pytest.mark.parametrize("named_by", ["data.root", "EAT_DATA_ROOT"])
def test_a_root_without_the_file_is_an_error_and_never_asks_the_hub(
    named_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: pytest.fail("asked the hub"))
    monkeypatch.setenv("EAT_DATA_ROOT", str(tmp_path))
    with pytest.raises(DataNotFoundError) as caught:
        read_splits(SOURCE, ["train", "validation"], root=tmp_path if named_by == "data.root" else None)
    message = str(caught.value)
    assert f"looked for glue/sst2/train.parquet under {named_by}={tmp_path}" in message
    assert "glue/sst2/train.parquet, glue/sst2/validation.parquet" in message
    for way in ("(1) the Hugging Face hub (nyu-mll/glue, sst2)", "(2) a local root", "(3) no data at all: task=demo"):
        assert way in message


def test_a_root_that_is_no_folder_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"data\.root=.*nowhere, which is no folder"):
        read_splits(SOURCE, ["train"], root=tmp_path / "nowhere")


def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / SOURCE.folder / "train.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no Parquet file")
    with pytest.raises(ValueError, match=r"train\.parquet: not readable as Parquet"):
        read_splits(SOURCE, ["train"], root=tmp_path)


@pytest.mark.parametrize(
    "features", [b'{"info": {"features": {"a": {"_type": "Evil"}}}}', b'{"info": {"features": 3}}']
)
def test_broken_features_are_an_error_that_names_the_file(features: bytes, tmp_path: Path) -> None:
    write(tmp_path, "train", ROWS)
    path = tmp_path / SOURCE.folder / "train.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"huggingface": features}), path)
    with pytest.raises(ValueError, match=r"train\.parquet: not readable as Parquet"):
        read_splits(SOURCE, ["train"], root=tmp_path)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (OSError(28, "No space left on device"), r"asked the .* hub for nyu-mll/glue, sst2 \(OSError: .*No space left"),
        (DatasetGenerationError("line one\nline two"), r"\(DatasetGenerationError: line one line two\)"),
        (RuntimeError("429: too many requests"), r"\(RuntimeError: 429: too many requests\)"),
        (DatasetDict({"test": Dataset.from_dict(ROWS)}), r"hub has the splits \['test'\], not \['train'\]"),
    ],
)
def test_whatever_the_hub_answers_is_said_in_one_line(
    answer: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(*args: object, **kwargs: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataNotFoundError, match=rf"data not found: .*{message}.*\. Three ways to go on") as caught:
        read_splits(SOURCE, ["train"])
    assert "\n" not in str(caught.value)


def test_without_any_root_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(path: str, config: str, cache_dir: str | None) -> DatasetDict:
        asked.append((path, config, cache_dir))
        return DatasetDict({split: Dataset.from_dict(ROWS) for split in ("train", "validation", "test")})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert list(read_splits(SOURCE, ["train", "validation"])) == ["train", "validation"]
    assert asked == [("nyu-mll/glue", "sst2", None)]


def test_without_network_the_error_says_how_to_go_on() -> None:
    with pytest.raises(
        DataNotFoundError, match=r"does not answer, and the cache has no copy of nyu-mll/glue.*task=demo"
    ):
        read_splits(SOURCE, ["train"])


@pytest.mark.parametrize(
    ("problem", "answers"),
    [
        (urllib.error.URLError(OSError("no route")), False),
        (TimeoutError(), False),
        (urllib.error.HTTPError("https://hub", 503, "busy", None, None), True),  # type: ignore[arg-type]
        (urllib.error.URLError(sources.ssl.SSLError("own certificate")), True),
    ],
)
def test_the_hub_is_only_retried_where_something_answers(
    problem: Exception, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def urlopen(request: object, timeout: float) -> None:
        raise problem

    seen = []

    def load_dataset(*args: object, **kwargs: object) -> DatasetDict:
        seen.append(not datasets.config.HF_HUB_OFFLINE)
        return DatasetDict({"train": Dataset.from_dict(ROWS)})

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sources.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    read_splits(SOURCE, ["train"])
    assert seen == [answers]
    assert datasets.config.HF_HUB_OFFLINE is False


def test_label_names_come_from_the_file_beside_the_data(tmp_path: Path) -> None:
    assert read_label_names(SOURCE, root=tmp_path) is None
    assert read_label_names(SOURCE) is None
    path = tmp_path / SOURCE.folder / "labels.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"names": ["negative", "positive"]}')
    assert read_label_names(SOURCE, root=tmp_path) == ("negative", "positive")


@pytest.mark.parametrize("text", ["[1]", "{", '{"labels": []}', '{"names": [1]}', '{"names": "ab"}'])
def test_broken_label_names_are_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / SOURCE.folder / "labels.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ValueError, match=r"labels\.json"):
        read_label_names(SOURCE, root=tmp_path)
