"""A stranger's run folder is data: nothing that it names is imported or executed, nothing outside it is touched."""

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from safetensors.torch import save_file

from eat.cli import train
from eat.cli.compose import CONF, plain
from eat.evaluation import Report, evaluate_run
from eat.runs.finished import FinishedRun
from eat.runs.folder import continued_config
from eat.runs.saved import text_of
from eat.runs.targets import OFFERED
from eat.training.teacher import Teacher
from tests.made.runs import write_run

CANARY = "canary"
Change = Callable[[dict[str, Any], Path], None]

TINY = ("task=demo", "+task.train_rows=120", "+task.validation_rows=20", "trainer=cpu", "data.batch_size=8")
TINY += ("data.threshold_examples=10", "data.certification_examples=10", "data.max_length=16", "budget.max_steps=1")
TINY += ("backbone=tiny", "backbone.dim=16", "backbone.num_layers=2", "backbone.intermediate_size=16", "pruner=none")
TINY += ("backbone.vocab_size=200", "head_depths=[1]")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    with initialize_config_dir(CONF, version_base="1.3"):
        return plain(compose("train", [*TINY]))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file that is not to be touched, beside the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept.parquet").write_text("precious")
    monkeypatch.setenv("EAT_TEST_SECRET", "secret")
    return tmp_path


def seen(place: Path, run: Path) -> dict[str, Any]:
    """Return what lies outside the run folder."""
    paths = (path for path in place.rglob("*") if path != run and run not in path.parents)
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


def write(folder: Path, config: dict[str, Any], change: Change | None = None) -> Path:
    """Write an unfinished run folder with a changed configuration."""
    saved = yaml.safe_load(text_of(config))
    if change is not None:
        change(saved, folder.parent)
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(saved, sort_keys=False))
    return folder


def resume(folder: Path, *overrides: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "evaluate_run", lambda run, **_: Report(run, [], ""))
        patch.setattr(sys, "argv", ["train.py", f"resume={folder}", *overrides])
        train.main()


def read(folder: Path, config: dict[str, Any]) -> None:
    """Read what would be resumed."""
    continued_config(config | {"resume": str(folder)}, [f"resume={folder}"])


def put(value: Any, *keys: str) -> Change:
    """Return a change that puts a value at a place; ``CANARY`` in it becomes a file outside."""

    def change(config: dict[str, Any], place: Path) -> None:
        canary = str(place / "outside" / CANARY)
        target: Any = config
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        target[keys[-1]] = json.loads(json.dumps(value).replace(CANARY, canary).replace("OUTSIDE", f"{place}/outside"))

    return change


CALLS = [
    {"_target_": "torch.hub.load", "repo_or_dir": "OUTSIDE", "model": "evil", "source": "local"},
    {"_target_": "pandas.read_pickle", "filepath_or_buffer": "OUTSIDE/evil.pickle"},
    {"_target_": "pathlib.Path.unlink", "self": {"_target_": "pathlib.Path", "_args_": ["OUTSIDE/kept.parquet"]}},
    {"_target_": "os.system", "command": f"touch {CANARY}"},
    {"_target_": "os.mkdir", "path": CANARY},
    {"_target_": "builtins.eval", "_args_": [f"open('{CANARY}', 'w')"]},
    {"_target_": "eat.files.write_text", "path": CANARY, "text": "x"},
    {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.mkdir", "path": CANARY}},
    {"_target_": "functools.partial", "_args_": [{"_target_": "os.mkdir", "path": CANARY}]},
]
PLACES = [("optimizer",), ("callbacks", "evil"), ("trainer", "plugins"), ("schedule", "warmup_epochs"), ("evil",)]


@pytest.mark.parametrize(
    ("call", "keys"),
    [*((call, PLACES[0]) for call in CALLS), *((CALLS[4], keys) for keys in PLACES[1:])],
    ids=lambda value: value["_target_"] if isinstance(value, dict) else ".".join(value),
)
def test_what_it_asks_to_call_is_refused(
    place: Path, config: dict[str, Any], call: dict[str, Any], keys: tuple[str, ...]
) -> None:
    folder = write(place / "run", config, put(call, *keys))
    (place / "outside" / "evil.pickle").write_bytes(pickle.dumps(Canary(place / "outside" / CANARY)))
    (place / "outside" / "hubconf.py").write_text(f"open({str(place / 'outside' / CANARY)!r}, 'w')\n")
    before = seen(place, folder)
    expected = rf"resume: .*config.yaml: .*{'.'.join(keys)}\.(_target_='{call['_target_']}'|_args_=)"
    with pytest.raises(ValueError, match=expected) as caught:
        read(folder, config)
    assert "\n" not in str(caught.value)
    assert seen(place, folder) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put([{"_target_": "os.mkdir", "path": CANARY}], "optimizer", "betas"), r"optimizer\.betas\[0\]\._target_='os"),
        (put([[{"a": {"_target_": "os.mkdir"}}]], "pruner", "depths"), r"pruner\.depths\[0\]\[0\]\.a\._target_='os"),
        (put(["os.mkdir"], "optimizer", "_target_"), r"optimizer\._target_=\['os.mkdir'\]"),
        (put("os.mkdir", "_target_"), r"yaml: _target_='os.mkdir'"),
        (put(["x"], "optimizer", "_args_"), r"optimizer\._args_=\['x'\]"),
        (put(False, "backbone", "_recursive_"), r"backbone\._recursive_=False"),
        (put("all", "backbone", "_convert_"), r"backbone\._convert_='all'"),
        (put(True, "trainer", "_partial_"), r"trainer\._partial_=True, expected False"),
        (put(False, "logger", "csv", "_partial_"), r"logger\.csv\._partial_=False, expected True"),
        (put("eat.training.loggers.wandb_logger", "optimizer", "_target_"), r"optimizer\._target_='eat.training.log"),
        (put("eat.training.optimizer.adamw", "pruner", "_target_"), r"pruner\._target_=.*expected none there"),
        (put("${oc.env:EAT_TEST_SECRET}", "task", "name"), r"task\.name='\$\{oc.env:EAT_TEST_SECRET\}', expected a pl"),
        (put(["${now:%Y}"], "pruner", "depths"), r"pruner\.depths\[0\]='\$\{now"),
        (put(1, "optimizer", "${oc.env:HOME}"), r"optimizer\.\$\{oc.env:HOME\}="),
        (put("???", "optimizer", "lr"), r"optimizer\.lr='\?\?\?'"),
        (lambda config, _: config.pop("optimizer"), "is no whole configuration of a run, optimizer missing"),
        (put(5, "trainer"), "trainer: expected a mapping, got int '5'"),
        (put(None, "data"), "data: expected a mapping, got nothing"),
        (lambda config, _: config["schedule"].pop("_target_"), "schedule: expected a mapping with _target_"),
    ],
)
def test_what_it_says_otherwise_is_refused(place: Path, config: dict[str, Any], change: Change, message: str) -> None:
    folder = write(place / "run", config, change)
    with pytest.raises(ValueError, match=message) as caught:
        read(folder, config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("os.mkdir", "optimizer", "_target_"), r"optimizer\._target_='os\.mkdir'"),
        (
            lambda config, _: config["schedule"].pop("warmup_epochs"),
            "schedule: .* missing a required argument: 'warmup",
        ),
        (put(1, "backbone", "evil"), "backbone: .* unexpected keyword argument 'evil'"),
        (put("../../outside", "task", "name"), r"task\.name: expected one of"),
    ],
)
def test_nothing_is_left_of_a_refused_resumption(
    place: Path, config: dict[str, Any], change: Change, message: str
) -> None:
    folder = write(place / "run", config, change)
    before = seen(place, folder)
    with pytest.raises(ValueError, match=message) as caught:
        resume(folder)
    assert "\n" not in str(caught.value)
    assert seen(place, folder) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a run's configuration in .*, got nothing"),
        ("task", "expected a run's configuration in .*, got str 'task'"),
        ("a: [1", "is no readable YAML"),
        ("a: !!python/object/apply:os.mkdir [canary]\n", "is no readable YAML .*python/object/apply:os.mkdir"),
        ("a: !!python/name:os.system ''\n", "is no readable YAML"),
        ("a: &x [1]\nb: [*x, *x]\n", "expected no aliases"),
        ("a: !!timestamp 2001-99-99\n", "is no readable YAML"),
        ("seed: 0\n", "is no whole configuration of a run, task"),
    ],
)
def test_a_configuration_that_is_none_is_one_line(place: Path, config: dict[str, Any], text: str, message: str) -> None:
    folder = write(place / "run", config)
    (folder / "config.yaml").write_text(text)
    for use in (lambda: read(folder, config), lambda: FinishedRun(folder)):
        with pytest.raises(ValueError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert {path.name for path in place.rglob("*")} == {"run", "config.yaml", "outside", "kept.parquet"}


def test_the_list_is_what_conf_offers() -> None:
    offered: dict[str, dict[str, bool]] = {}
    for path in Path(CONF).rglob("*.yaml"):
        content = yaml.safe_load(path.read_text()) or {}
        group = path.relative_to(CONF).parent.name
        below = {group: content} if group else {key: value for key, value in content.items() if key != "hydra"}
        for name, value in below.items():
            parts = {name: value}
            if name in ("callbacks", "logger"):
                parts = {f"{name}.*": part for part in value.values()}
                parts = {f"{name}.*/{index}": part for index, part in enumerate(value.values())}
            for place, part in parts.items():
                if isinstance(part, dict) and "_target_" in part:
                    known = offered.setdefault(place.partition("/")[0], {})
                    known[part["_target_"]] = part.get("_partial_", False)
    assert offered == OFFERED


def test_no_path_that_it_names_is_written_to(place: Path, config: dict[str, Any]) -> None:
    outside = str(place / "outside")

    def change(saved: dict[str, Any], _: Path) -> None:
        saved["paths"] = {"runs": outside}
        saved |= {"resume": outside, "fresh": True, "evaluation": {"baseline_run": outside}, "experiment": "../../x"}
        saved["data"]["cache_dir"] = f"{outside}/cache"

    folder = write(place / "run", config, change)
    before = seen(place, folder)
    resume(folder)
    assert (folder / "model" / "config.json").is_file()
    assert seen(place, folder) == before


@pytest.mark.parametrize("key", ["trainer.default_root_dir", "logger.csv.folder"])
def test_a_place_that_eat_gives_itself_is_refused(place: Path, config: dict[str, Any], key: str) -> None:
    *sections, last = key.split(".")
    folder = write(place / "run", config, put(str(place / "outside"), *sections, last))
    before = seen(place, folder)
    with pytest.raises(ValueError, match=rf"{key}: expected none, eat gives it itself"):
        resume(folder)
    assert seen(place, folder) == before


@pytest.mark.parametrize("name", ["checkpoints", "model.partial", "metrics.csv", "wandb/x", "absent"])
def test_a_link_out_of_the_folder_is_refused(place: Path, config: dict[str, Any], name: str) -> None:
    folder = write(place / "run", config)
    link = folder / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(place / "outside" / ("absent" if name == "absent" else ""))
    before = seen(place, folder)
    with pytest.raises(ValueError, match=rf"resume: .*{name} is a link out of the run folder"):
        read(folder, config)
    assert seen(place, folder) == before


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def foreign(folder: Path) -> dict[str, object]:
    tensors = {"state_dict": {"model.x": torch.ones(1)}, "optimizer_states": [], "lr_schedulers": [], "loops": {}}
    whole = tensors | {"callbacks": {}, "epoch": 0, "global_step": 1, "pytorch-lightning_version": "2.6.0"}
    return {
        "pickled": Canary(folder.parent / "outside" / CANARY),
        "pickled inside": whole | {"state_dict": {"x": Canary(folder.parent / "outside" / CANARY)}},
        "of something else": {"weights": torch.ones(2)},
        "no mapping": [1, 2],
        "no tensors": whole | {"state_dict": {"x": "y"}},
        "of another model": whole,
    }


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pickled", "no readable checkpoint"),
        ("pickled inside", "no readable checkpoint"),
        ("of something else", "no checkpoint of a training: it lacks"),
        ("no mapping", "no checkpoint of a training: it lacks"),
        ("no tensors", "its state_dict holds other things than tensors"),
        ("of another model", "is of another model: model.*has shape"),
    ],
)
def test_a_foreign_checkpoint_is_read_as_data(place: Path, config: dict[str, Any], kind: str, message: str) -> None:
    folder = write(place / "run", config)
    (folder / "checkpoints").mkdir()
    torch.save(foreign(folder)[kind], folder / "checkpoints" / "last.ckpt")
    before = seen(place, folder)
    with pytest.raises(ValueError, match=rf"last.ckpt .*{message}.*fresh=true") as caught:
        resume(folder)
    assert "\n" not in str(caught.value)
    assert seen(place, folder) == before


@pytest.mark.parametrize("content", [b"abc", b".", b"hello world, this is text\n" * 50, b"", b"{}", b"PK\x03\x04"])
def test_a_checkpoint_that_is_none_is_said_to_be_none(place: Path, config: dict[str, Any], content: bytes) -> None:
    folder = write(place / "run", config)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"last.ckpt is no readable checkpoint .*fresh=true") as caught:
        resume(folder)
    assert "\n" not in str(caught.value)


def test_what_the_user_typed_in_a_training_is_typed_again_to_resume_it(place: Path, config: dict[str, Any]) -> None:
    own = "torch.optim.lr_scheduler.ConstantLR"
    folder = write(place / "run", config, put(own, "scheduler", "_target_"))
    with pytest.raises(ValueError, match=rf"scheduler\._target_='{own}' .*type it as well: scheduler._target_={own}"):
        resume(folder)
    with pytest.raises(ValueError, match=r"scheduler\._target_=os\.mkdir cannot change"):
        resume(folder, "scheduler._target_=os.mkdir")
    with pytest.raises(ValueError, match=r"scheduler: torch\.optim\.lr_scheduler\.ConstantLR takes .*warmup_ratio"):
        resume(folder, f"scheduler._target_={own}")  # it is built, and says itself that it takes other arguments


@pytest.fixture
def finished(place: Path) -> Path:
    return write_run(place / "run")


def test_an_evaluation_builds_nothing_that_the_configuration_names(place: Path, finished: Path) -> None:
    saved = yaml.safe_load((finished / "config.yaml").read_text())
    for number, call in enumerate(CALLS):
        for keys in PLACES:
            put(call, *keys[:-1], f"{keys[-1]}{number or ''}")(saved, place)
    saved |= {"paths": {"runs": str(place / "outside")}, "experiment": "../../outside/x"}
    saved["data"]["cache_dir"] = str(place / "outside" / "cache")
    (finished / "config.yaml").write_text(yaml.safe_dump(saved))
    before = seen(place, finished)
    evaluate_run(finished, stages=["quality"], device="cpu")
    assert seen(place, finished) == before


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("task", "_target_"), "os.mkdir"),
        (("task", "name"), "../../outside"),
        (("exit", "name"), "../../outside/x"),
        (("exit", "_target_"), "os.mkdir"),
        (("task", "train"), "${oc.env:EAT_TEST_SECRET}"),
    ],
)
def test_an_evaluation_refuses_what_it_would_use(
    place: Path, finished: Path, keys: tuple[str, ...], value: object
) -> None:
    saved = yaml.safe_load((finished / "config.yaml").read_text())
    put(value, *keys)(saved, place)
    (finished / "config.yaml").write_text(yaml.safe_dump(saved))
    before = seen(place, finished)
    with pytest.raises(ValueError, match=keys[0]):
        evaluate_run(finished, stages=["quality"], device="cpu")
    assert seen(place, finished) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config, _: config.pop("exit"), "is no whole configuration of a run, exit missing"),
        (put(None, "exit"), "exit: expected a mapping, got nothing"),
        (lambda config, _: config.pop("data"), "is no whole configuration of a run, data missing"),
        (lambda config, _: config["backbone"].pop("max_length"), "run, backbone.max_length missing"),
        (put(["tiny"], "backbone"), "run, backbone.max_length missing"),
        (put("demo", "task"), "task: expected a mapping, got str 'demo'"),
    ],
)
def test_an_evaluation_says_what_a_configuration_lacks(
    place: Path, finished: Path, change: Change, message: str
) -> None:
    saved = yaml.safe_load((finished / "config.yaml").read_text())
    change(saved, place)
    (finished / "config.yaml").write_text(yaml.safe_dump(saved))
    with pytest.raises(ValueError, match=f"run: .*{message}") as caught:
        evaluate_run(finished, stages=["quality"], device="cpu")
    assert "\n" not in str(caught.value)
    assert not (finished / "report").exists()


@pytest.mark.parametrize("name", ["report", "trace", "model/README.md", "trace/validation.parquet"])
def test_an_evaluation_refuses_a_link_out_of_the_folder(place: Path, finished: Path, name: str) -> None:
    link = finished / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(place / "outside" / ("kept.parquet" if "." in name else ""))
    before = seen(place, finished)
    with pytest.raises(ValueError, match=rf"run: .*{name} is a link out of the run folder"):
        evaluate_run(finished, stages=["quality"], device="cpu")
    assert seen(place, finished) == before


def pickled_weights(model: Path, canary: Path) -> None:
    torch.save(Canary(canary), model / "model.safetensors")


def pickled_beside(model: Path, canary: Path) -> None:
    torch.save(Canary(canary), model / "pytorch_model.bin")


def an_adapter(model: Path, canary: Path) -> None:
    facts = {"peft_type": "LORA", "megatron_config": {}, "megatron_core": "antigravity", "base_model_name_or_path": "x"}
    (model / "adapter_config.json").write_text(json.dumps(facts))
    save_file({"x": torch.ones(1)}, model / "adapter_model.safetensors")


def code_of_its_own(model: Path, canary: Path) -> None:
    for name, key in (("config.json", "AutoConfig"), ("tokenizer_config.json", "AutoTokenizer")):
        facts = json.loads((model / name).read_text())
        named = {key: "evil.Evil", "AutoModelForSequenceClassification": "evil.Evil"}
        facts["auto_map"] = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]} if "tok" in name else named
        (model / name).write_text(json.dumps(facts))
    (model / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\nclass Evil: pass\n")


@pytest.mark.parametrize("change", [pickled_weights, pickled_beside, an_adapter, code_of_its_own])
def test_a_model_is_read_as_data(
    place: Path, finished: Path, change: Callable[[Path, Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    change(finished / "model", place / "outside" / CANARY)
    before = seen(place, finished)
    uses: list[Callable[[], object]] = [
        lambda: evaluate_run(finished, stages=["quality"], device="cpu"),
        lambda: Teacher.from_folder(finished, tokenizer=None, label_names=("a", "b"), max_length=8),
    ]
    for use in uses:
        with suppress(Exception):  # whatever it says: nothing is executed
            use()
    assert seen(place, finished) == before
    assert "antigravity" not in sys.modules
    assert "run the custom code" not in "".join(capfd.readouterr()), "nobody is asked either"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"data": 5}', '{"packages": [1]}'])
def test_a_broken_environment_is_one_line(place: Path, finished: Path, text: str) -> None:
    (finished / "environment.json").write_text(text)
    with pytest.raises(ValueError, match=r"environment.json.*(readable JSON|expected a JSON).*restore it") as caught:
        evaluate_run(finished, stages=["quality"], device="cpu")
    assert "\n" not in str(caught.value)
    assert not (finished / "report").exists()


def test_a_hard_link_is_replaced_and_not_written_through(place: Path, finished: Path) -> None:
    (finished / "report").mkdir()
    os.link(place / "outside" / "kept.parquet", finished / "report" / "summary.md")
    before = seen(place, finished)
    evaluate_run(finished, stages=["quality"], device="cpu")
    assert seen(place, finished) == before
    shutil.rmtree(finished)


def test_the_links_that_wandb_makes_among_its_logs_are_left_alone(place: Path, finished: Path) -> None:
    logs = finished / "wandb" / "offline-run-20260101_000000-abc" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug-core.log").symlink_to(place / "outside" / "core-debug.log")
    assert evaluate_run(finished, stages=["quality"], device="cpu").folder == finished / "report"
