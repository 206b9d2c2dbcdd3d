"""Predict a file with a saved or exported model; an exported one is answered without torch."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig

from eat.checks import one_line
from eat.cli.pipe import end_with_pipe
from eat.deployment import manifest
from eat.deployment.prediction.run import Summary, predict_file
from eat.deployment.prediction.settings import PredictSettings

NEEDED = {
    "model": "the folder of a run, a saved model or an export",
    "input": "a file, or - for standard input",
    "output": "a file, or - for standard output",
}


def main(config: DictConfig | None = None) -> Summary | None:
    """Predict, and say on stderr what came out: stdout may be the output.

    What all commands share needs torch, which need not be there where an export is served: plain ``key=value``
    arguments about one are therefore read here.
    """
    options = of_an_export(sys.argv[1:]) if config is None else None
    if options is None:
        from eat.cli.command import command

        summary: Summary | None = command("predict")(_composed)(config)
        return summary
    try:
        return _predict(options)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(1)


def of_an_export(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return the settings where all arguments are plain ones about an exported folder, as it is, without a guard.

    None for all else, which is left to what commands share: help, multiruns, other exits, and what is wrong.
    """
    if any(argument.startswith("-") or "${" in argument for argument in arguments):
        return None
    try:
        overrides = OverridesParser.create().parse_overrides(list(arguments))
    except HydraException:
        return None
    options = {override.key_or_group: override.value() for override in overrides}
    plain = all(override.type is OverrideType.CHANGE and not override.is_sweep_override() for override in overrides)
    known = {*NEEDED, *(field.name for field in dataclasses.fields(PredictSettings))} - {"exit", "guard"}
    if not plain or set(options) - known or not set(NEEDED) <= set(options):
        return None
    return options if (Path(str(options["model"])) / manifest.FILE).is_file() else None


def _composed(config: DictConfig) -> Summary:
    from eat.cli.compose import keep_quiet, plain
    from eat.cli.options import check_keys, need
    from eat.cli.settings import defaults

    keep_quiet()
    for key, expected in NEEDED.items():
        need(config, key, expected, "")
    options = plain(config)
    check_keys("", options, [*NEEDED, *defaults(PredictSettings)])
    return _predict(options)


def _predict(options: dict[str, Any]) -> Summary:
    model, input, output = (options.pop(key) for key in NEEDED)
    settings = PredictSettings(**options)

    def make_guard(served: Any) -> Any:
        from eat.monitoring import DriftGuard

        return DriftGuard(served, false_alarm=settings.false_alarm)

    try:
        if settings.cluster is not None:
            from eat.deployment.prediction.shards import predict_shards

            summary = predict_shards(model, input, output, settings)
        else:
            summary = predict_file(model, input, output, settings, make_guard=make_guard)
    except BrokenPipeError:
        end_with_pipe()
    print(summary, file=sys.stderr)
    if settings.unreadable == "refuse" and summary.tally.unreadable:
        raise ValueError(
            f"unreadable: expected rows that can be read, got {summary.tally.unreadable} that cannot, of "
            f"{summary.tally.rows}; the others are answered"
        )
    return summary
