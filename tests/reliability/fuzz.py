"""Fuzz the package: random models, options, batches, files and overrides against what must always hold.

    python -m tests.reliability.fuzz seconds=600              # all kinds, from seed 0
    python -m tests.reliability.fuzz seconds=600 first=10000000  # another process, other seeds
    python -m tests.reliability.fuzz inputs=400000             # until there are so many inputs
    python -m tests.reliability.fuzz cases=100                 # so many of each kind
    python -m tests.reliability.fuzz kind=answers seed=17      # one case again; exit code 1 where it fails
    python -m tests.reliability.fuzz merge=a.json,b.json out=results/reliability/fuzz   # also of other commits

Every kind has a share of the time. What fails is collected and never stops the campaign, whose exit code is then 1. Its
summary is written now and then, so that a campaign that is killed leaves one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.reliability import quiet

quiet.prepare()

from eat.runs.environment import commit
from tests.reliability.answers import check_answers
from tests.reliability.calls import check_any_call
from tests.reliability.campaign import RESULTS, Tally, merged, run_case, summarise, write_summary
from tests.reliability.options import check_part, check_settings
from tests.reliability.overrides import check_overrides
from tests.reliability.refusals import LONGEST
from tests.reliability.stored import check_folder, check_stored
from tests.reliability.supervised import Kinds, run, run_each
from tests.reliability.tables import check_table

KINDS: Kinds = {
    "answers": (0.5, check_answers),
    "options": (0.06, check_part),
    "settings": (0.02, check_settings),
    "calls": (0.07, check_any_call),
    "overrides": (0.1, check_overrides),
    "tables": (0.1, check_table),
    "stored": (0.06, check_stored),
    "folders": (0.05, check_folder),
}
"""Kind -> its share of the time, and its check."""
AGAIN = "make fuzz KIND=<kind> SEED=<seed>"
NOTES = (
    (
        "Inputs of each kind: `answers`, sequences, each answered in a batch, in another order, alone, from a trace, "
        "and, where nothing is padded on the left, packed and in a stream."
    ),
    (
        "`options` and `settings`: sets of options. `calls`: calls of a model or a stream with one argument changed. "
        "`overrides`: command lines, composed and checked. `tables`: users' files. `stored` and `folders`: files that "
        "eat wrote, damaged or edited, alone and within a run. A seed repeats its case at its own commit."
    ),
    f"A refusal counts as clear where it is one line of at most {LONGEST} characters that names what it is about.",
)


def shown(tallies: dict[str, Tally]) -> Iterator[str]:
    """Say what came out, a line a kind and a line a failure."""
    for kind, tally in tallies.items():
        yield f"{kind}: " + ", ".join(f"{name} {number:,}" for name, number in sorted(tally.counts.items()))
        for what, failure in list(tally.failures.items())[:20]:
            yield f"  {failure['cases']} x {what}; seeds {failure['seeds']}: {failure['message']}"


def main(arguments: list[str]) -> int:
    """Run what the arguments say; return the exit code."""
    options = dict(argument.split("=", 1) for argument in arguments)
    out = Path(options.get("out", RESULTS / "fuzz"))
    if "merge" in options:
        write_summary(merged(quiet.read_summaries(options["merge"])), out)
        return 0
    if "seed" in options:
        case = run_case(KINDS[options["kind"]][1], int(options["seed"]))
        print(dict(case.counts), *(f"{what}: {message}" for what, message in case.problems.items()), sep="\n")
        return int(bool(case.problems))
    chosen = {kind: KINDS[kind] for kind in options["kind"].split(",")} if "kind" in options else KINDS
    first, cases = int(options.get("first", 0)), int(options.get("cases", 0))
    at = commit()  # while it runs another may be checked out
    out.parent.mkdir(parents=True, exist_ok=True)

    def note(tallies: dict[str, Tally]) -> None:
        if "kind" not in options:
            write_summary(summarise("Fuzzing", tallies, again=AGAIN, notes=NOTES) | {"commit": at}, out)

    if cases:
        tallies = run_each(chosen, cases, first)
    else:
        inputs = float(options.get("inputs", "inf"))
        seconds = float(options.get("seconds", 60 if math.isinf(inputs) else "inf"))
        tallies = run(chosen, seconds, first, inputs=inputs, note=note)
    print(*shown(tallies), sep="\n")
    note(tallies)
    return int(any(tally.failures for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
