"""The command `eat`: which of its commands is meant."""

import sys
from importlib import import_module

from eat import __version__
from eat.checks import closest, shown

COMMANDS = {
    "train": "train an adaptive classifier and evaluate it: eat train task=sst2",
    "evaluate": "measure a finished run: eat evaluate run=runs/sst2/...",
    "explain": "show what a run's model does to one text: eat explain run=runs/sst2/... text='not bad at all'",
    "search": "search for a training's settings with Optuna: eat search search=pruning task=sst2",
    "benchmark": "measure the standard suite on this machine: eat benchmark",
    "export": "write a finished run as ONNX segments that need no torch: eat export run=runs/sst2/... output=served",
    "predict": "predict a file of texts: eat predict model=runs/sst2/... input=mine.csv output=scored.parquet",
    "queries": "measure runs one text at a time: eat queries 'candidates={dense: runs/a, eat: runs/b}' output=q",
    "profile": "tell where runs spend their time: eat profile 'candidates={dense: runs/a}' output=profile",
    "loadgen": "put a run under MLPerf LoadGen beside other engines: eat loadgen run=runs/sst2/... output=loadgen",
    "kernels": "show which products this machine was measured to multiply with: eat kernels",
    "tables": "tabulate finished runs over their seeds, and make pages anew: eat tables tasks=sst2",
    "figures": "draw figures over finished runs: eat figures results=results/sst2",
}
USAGE = "\n".join(
    [
        "usage: eat COMMAND [key=value ...]",
        "",
        *(f"  {name:<10} {what}" for name, what in COMMANDS.items()),
        "",
        "eat COMMAND --help lists what can be chosen; eat --version says which eat this is",
    ]
)


def main() -> None:
    """Run the command that the first argument names, with the rest."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE)
    elif name == "--version":
        print(f"eat {__version__}")
    elif name in COMMANDS:
        sys.argv = [f"{sys.argv[0]} {name}", *rest]
        import_module(f"eat.cli.{name}").main()
    else:
        known = ", ".join(COMMANDS)
        sys.exit(f"eat: expected one of {known}, got {shown(name)}{closest(name, COMMANDS)}; eat --help says more")
