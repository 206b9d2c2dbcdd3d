"""Show what a finished run's model does to one text."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import need
from eat.evaluation.command import quoted
from eat.explanation import Explanation
from eat.runs.explained import explain_run
from eat.runs.finished import runs_beside

TEXTS = ("text", "text_pair")


def main() -> None:
    """Run the command; what stands behind ``text=`` is a text, whatever Hydra would read in it."""
    sys.argv[1:] = map(as_text, sys.argv[1:])
    explained()


def as_text(argument: str) -> str:
    """Quote an argument's value for Hydra where it is a text; nothing, as ``text_pair=``, stays nothing."""
    key, equals, value = argument.partition("=")
    return f"{key}={quoted(value)}" if key in TEXTS and equals else argument


@command("explain")
def explained(config: DictConfig) -> Explanation:
    """Explain, print it, and say where the page lies."""
    keep_quiet()
    need(config, "run", "the folder of a finished run", f"; {runs_beside(Path('runs/x'))}")
    need(config, "text", "a text", ", as text='not as bad as it sounds'")
    options = plain(config)
    explanation = explain_run(options.pop("run"), options.pop("text"), **options)
    print(explanation)
    if options["output"] is not None:
        print(f"\npage: {options['output']}")
    return explanation
