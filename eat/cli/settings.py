"""The commands' settings for Hydra, values and explanations alike, from the classes whose arguments they are."""

import dataclasses
import functools
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hydra.core.config_store import ConfigStore

from eat.benchmark.run import BenchmarkSettings
from eat.evaluation import evaluate_run
from eat.evaluation.stages import STAGES
from eat.exits import EXITS
from eat.pruners import PRUNERS
from eat.suite import SuiteSettings

OF_STAGES = {name: stage.Settings for name, stage in STAGES.items() if dataclasses.fields(stage.Settings)}
"""Stage of an evaluation -> its settings; the benchmark's are a group, which has presets."""
PARTS: Mapping[str, Mapping[str, Callable[..., Any]]] = {"exit": EXITS, "pruner": PRUNERS}
"""Parts of a finished run that an evaluation may change; null keeps the run's own."""
EXPLAINED: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "train": {"evaluation.benchmark.": BenchmarkSettings},
    "evaluate": {
        "": evaluate_run,
        **{f"{key}.": settings for key, settings in OF_STAGES.items()},
        **{f"{key}={name} {key}.": part for key, parts in PARTS.items() for name, part in parts.items()},
    },
    "benchmark": {"": SuiteSettings},
}
"""What ``--help`` explains of each command: what a key begins with -> what it is an argument of."""

PLAIN = {"None": "null", "True": "true", "False": "false"}
_TEMPLATE = """{usage}

== Choices ==
group=option

$APP_CONFIG_GROUPS
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
    store.store(name="benchmark_settings", node=defaults(SuiteSettings))
    for command, sections in EXPLAINED.items():
        lines = [line for prefix, part in sections.items() for line in explain(prefix, part)]
        template = _TEMPLATE.format(usage=f"usage: eat {command} [key=value ...]", settings="\n".join(lines))
        empty = {"app_name": f"eat {command}", "header": "", "footer": ""}
        store.store(group="hydra/help", name=command, node=empty | {"template": template})


def defaults(part: Callable[..., Any], unset: Collection[str] = ()) -> dict[str, Any]:
    """Return the values that a configuration starts with; null without a default, and for the keys in ``unset``."""
    parameters = inspect.signature(part).parameters
    return {name: None if p.default is p.empty or name in unset else p.default for name, p in parameters.items()}


def explain(prefix: str, part: Callable[..., Any]) -> list[str]:
    """Return lines that say what the keys mean.

    Of a class and its bases by the comments beside fields and by docstrings, of a function by its docstring.
    """
    meanings: dict[str, str] = {}
    for owner in inspect.getmro(part)[:-1] if inspect.isclass(part) else (part,):
        if dataclasses.is_dataclass(owner):
            for name, comment in re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(owner), re.M):
                meanings.setdefault(name, f"{comment[0].upper()}{comment[1:]}.")
        section = re.search(r"^(?:Args|Attributes):\n((?: +.*\n?|\n)+)", inspect.cleandoc(owner.__doc__ or ""), re.M)
        for entry in re.split(r"\n {4}(?=\w)", f"\n{section[1]}") if section else ():
            name, _, meaning = entry.partition(": ")
            meanings.setdefault(name.strip(), " ".join(meaning.split()))
    lines = []
    for name, default in defaults(part).items():
        if name not in {*OF_STAGES, *PARTS, "settings", "run"}:  # which are explained on their own
            key = prefix + re.sub("^data_", "data.", name)
            meaning = re.sub(r"\b(?:None|True|False)\b", lambda word: PLAIN[word[0]], meanings.get(name, ""))
            shown = default if isinstance(default, str) else json.dumps(default)
            text = f"{key} ({shown}): {meaning.replace('`', '')}"
            lines += textwrap.wrap(text.replace("$", "$$"), 116, subsequent_indent="    ")
    return lines
