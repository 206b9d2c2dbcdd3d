"""The commands' settings for Hydra, values and explanations alike, from the classes whose arguments they are."""

import dataclasses
import functools
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from eat.attention import ATTENTIONS
from eat.benchmark.run import BenchmarkSettings
from eat.cli.compose import CONF
from eat.deployment.export import ExportSettings
from eat.deployment.prediction.settings import PredictSettings
from eat.evaluation import evaluate_run
from eat.evaluation.loadgen import LoadGenRunSettings
from eat.evaluation.profile import ProfileSettings
from eat.evaluation.queries import QuerySettings
from eat.evaluation.stages import STAGES
from eat.exits import EXITS
from eat.pruners import PRUNERS
from eat.registry import Family
from eat.results.command import TableSettings
from eat.results.figures.below import draw_below
from eat.runs.explained import explain_run
from eat.search.settings import SearchSettings
from eat.suite import SuiteSettings
from eat.tasks import TASKS
from eat.training.compression import COMPRESSIONS
from eat.training.objectives import OBJECTIVES

OF_STAGES = {name: stage.Settings for name, stage in STAGES.items() if dataclasses.fields(stage.Settings)}
"""Stage of an evaluation -> its settings; the benchmark's are a group, which has presets."""
PARTS: Mapping[str, Mapping[str, Callable[..., Any]]] = {"exit": EXITS, "pruner": PRUNERS}
"""Parts of a finished run that an evaluation may change; null keeps the run's own."""
CHOSEN: Mapping[str, Family[Any]] = {
    "attention": ATTENTIONS,
    "pruner": PRUNERS,
    "exit": EXITS,
    "objective": OBJECTIVES,
    "compression": COMPRESSIONS,
    "task": TASKS,
}
"""Groups of ``conf`` whose options are parts by name."""
_EXITS = {f"exit={name} exit.": part for name, part in PARTS["exit"].items()}
EXPLAINED: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "train": {"evaluation.benchmark.": BenchmarkSettings},
    "evaluate": {
        "": evaluate_run,
        **{f"{key}.": settings for key, settings in OF_STAGES.items()},
        **{f"{key}={name} {key}.": part for key, parts in PARTS.items() for name, part in parts.items()},
    },
    "explain": {"": explain_run},
    "search": {"search.": SearchSettings},
    "benchmark": {"": SuiteSettings},
    "tables": {"": TableSettings},
    "figures": {"": draw_below},
    "export": {"": ExportSettings},
    "predict": {"": PredictSettings, **_EXITS},
    "queries": {"": QuerySettings},
    "profile": {"": ProfileSettings},
    "loadgen": {"": LoadGenRunSettings},
}
"""What ``--help`` explains of each command: what a key begins with -> what it is an argument of."""

COMMENTED = {"train": (("task=file data.", "task/file.yaml", "data"),)}
"""Choices whose settings ``--help`` explains by the comments in their YAML: a key's beginning, file and section."""
MAX_LENGTH = 256
"""Longest input in tokens of a task that has no YAML of its own."""
PLAIN = {"None": "null", "True": "true", "False": "false"}
_TEMPLATE = """{usage}

== Choices ==
group=option

{choices}

== Settings ==
key (default): meaning

{settings}

== Configuration ==
any of these can be set as well

$CONFIG
"""


@functools.cache  # each command asks for it, and Hydra 1.4 warns of a name that is stored twice
def register() -> None:
    """Make the settings known to Hydra: misspelt keys fail, and ``conf`` holds only what differs from them."""
    store = ConfigStore.instance()
    stages = {key: defaults(settings, unset=STAGES[key].asked_by) for key, settings in OF_STAGES.items()}
    store.store(group="benchmark", name="default", node=stages.pop("benchmark"))
    parts = {
        key: dict.fromkeys(("name", *(name for part in table.values() for name in inspect.signature(part).parameters)))
        for key, table in PARTS.items()
    }
    store.store(name="evaluate_settings", node=stages | parts)
    for group, family in CHOSEN.items():
        for name in family.offered():
            _store_offered(store, group, name)
    store.store(name="search_settings", node={"search": defaults(SearchSettings)})
    store.store(name="benchmark_settings", node=defaults(SuiteSettings))
    store.store(name="tables_settings", node=defaults(TableSettings))
    store.store(name="queries_settings", node=defaults(QuerySettings))
    store.store(name="profile_settings", node=defaults(ProfileSettings))
    store.store(name="loadgen_settings", node=defaults(LoadGenRunSettings))
    store.store(name="export_settings", node=defaults(ExportSettings))
    store.store(name="predict_settings", node=defaults(PredictSettings) | {"exit": parts["exit"]})
    for command, sections in EXPLAINED.items():
        lines = [line for prefix, part in sections.items() for line in explain(prefix, part)]
        lines = [*(line for chosen in COMMENTED.get(command, ()) for line in commented(*chosen)), *lines]
        usage = f"usage: eat {command} [key=value ...]"
        template = _TEMPLATE.format(usage=usage, choices="\n".join(choices(command)), settings="\n".join(lines))
        empty = {"app_name": f"eat {command}", "header": "", "footer": ""}
        store.store(group="hydra/help", name=command, node=empty | {"template": template})


def _store_offered(store: ConfigStore, group: str, name: str) -> None:
    """Let ``pruner=my_pruner`` choose a part that an installed package offers; a YAML of that name comes first."""
    if group == "task":  # these say how long inputs are as well
        node = {"task": {"name": name}, "data": {"max_length": MAX_LENGTH}}
        store.store(group=group, name=name, node=node, package="_global_")
    else:
        store.store(group=group, name=name, node={"name": name})


def choices(config_name: str) -> list[str]:
    """Return a line for each group that a command chooses from, by the defaults of its configuration."""
    return [f"{key}: {', '.join(options(key))}" for key in sorted(_groups(config_name))] or ["none"]


def options(key: str) -> list[str]:
    """List what a group can be; none where there is no such group."""
    group = key.partition("@")[0]
    folder = Path(CONF) / group
    found = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    found |= {"default"} if group == "benchmark" else set()  # made of the settings' own defaults
    found |= set(CHOSEN[group].offered()) if group in CHOSEN else set()
    return sorted(found)


def _groups(config_name: str) -> list[str]:
    """List the groups in the defaults of a configuration, and of those that it starts from."""
    content = yaml.safe_load((Path(CONF) / f"{config_name}.yaml").read_text(encoding="utf-8"))
    groups = [key for entry in content["defaults"] if isinstance(entry, dict) for key in entry]
    starts = [entry for entry in content["defaults"] if (Path(CONF) / f"{entry}.yaml").is_file()]
    inherited = [group for start in starts for group in _groups(start)]
    return [*inherited, *(group for group in groups if not group.startswith("override "))]


def defaults(part: Callable[..., Any], unset: Collection[str] = ()) -> dict[str, Any]:
    """Return the values that a configuration starts with; null without a default, and for the keys in ``unset``."""
    parameters = inspect.signature(part).parameters
    return {name: None if p.default is p.empty or name in unset else p.default for name, p in parameters.items()}


_GOES_ON = r"(?:\n +# [a-z(].*)*"
"""The further lines of a comment, by a regular expression; one that begins anew does so in upper case."""


def explain(prefix: str, part: Callable[..., Any]) -> list[str]:
    """Return lines that say what the keys mean.

    Of a class and its bases by the comments beside fields and by docstrings, of a function by its docstring.
    """
    meanings: dict[str, str] = {}
    for owner in inspect.getmro(part)[:-1] if inspect.isclass(part) else (part,):
        if dataclasses.is_dataclass(owner):
            for name, comment in re.findall(rf"^    (\w+): .*?  # (.*{_GOES_ON})$", inspect.getsource(owner), re.M):
                meanings.setdefault(name, _sentence(comment))
        section = re.search(r"^(?:Args|Attributes):\n((?: +.*\n?|\n)+)", inspect.cleandoc(owner.__doc__ or ""), re.M)
        for entry in re.split(r"\n {4}(?=\w)", f"\n{section[1]}") if section else ():
            name, _, meaning = entry.partition(": ")
            meanings.setdefault(name.strip(), " ".join(meaning.split()))
    lines: list[str] = []
    for name, default in defaults(part).items():
        if name not in {*OF_STAGES, *PARTS, "settings", "run"}:  # which are explained on their own
            key = prefix + re.sub("^data_", "data.", name)
            meaning = re.sub(r"\b(?:None|True|False)\b", lambda word: PLAIN[word[0]], meanings.get(name, ""))
            shown = default if isinstance(default, str) else json.dumps(default)
            lines += _wrapped(f"{key} ({shown}): {meaning.replace('`', '')}")
    return lines


def commented(prefix: str, file: str, section: str) -> list[str]:
    """Return lines that say what the keys of a section of a YAML in ``conf`` mean, by the comments beside them."""
    text = (Path(CONF) / file).read_text(encoding="utf-8").partition(f"\n{section}:")[2]
    lines: list[str] = []
    for name, default, comment in re.findall(rf"^  (\w+): (.*?) +# (.*{_GOES_ON})$", text, re.M):
        shown = "required" if default == "???" else default
        lines += _wrapped(f"{prefix}{name} ({shown}): {_sentence(comment)}")
    return lines


def _sentence(comment: str) -> str:
    """Return a comment, of one line or several, as a sentence."""
    whole = re.sub(r"\n +# ", " ", comment)
    return f"{whole[0].upper()}{whole[1:]}."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text.replace("$", "$$"), 116, subsequent_indent="    ")
