"""Predict a file with a saved or exported model."""

import functools
import os
import sys

from omegaconf import DictConfig

from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import check_keys, need
from eat.cli.settings import defaults
from eat.deployment.prediction.run import Summary, predict_file
from eat.deployment.prediction.settings import PredictSettings
from eat.deployment.prediction.shards import predict_shards
from eat.monitoring import DriftGuard

NEEDED = {
    "model": "the folder of a run, a saved model or an export",
    "input": "a file, or - for standard input",
    "output": "a file, or - for standard output",
}


@command("predict")
def main(config: DictConfig) -> Summary:
    """Predict, and say on stderr what came out: stdout may be the output."""
    keep_quiet()
    for key, expected in NEEDED.items():
        need(config, key, expected, "")
    options = plain(config)
    check_keys("", options, [*NEEDED, *defaults(PredictSettings)])
    model, input, output = (options.pop(key) for key in NEEDED)
    settings = PredictSettings(**options)
    guard = functools.partial(DriftGuard, false_alarm=settings.false_alarm)
    try:
        if settings.cluster is not None:
            summary = predict_shards(model, input, output, settings)
        else:
            summary = predict_file(model, input, output, settings, make_guard=guard)
    except BrokenPipeError:  # who read stdout has enough, as `head` does; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # as shells have it for SIGPIPE
    print(summary, file=sys.stderr)
    if settings.unreadable == "refuse" and summary.tally.unreadable:
        raise ValueError(
            f"unreadable: expected rows that can be read, got {summary.tally.unreadable} that cannot, of "
            f"{summary.tally.rows}; the others are answered"
        )
    return summary
