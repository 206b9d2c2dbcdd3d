"""Show what was measured on this machine to choose between products, or measure it anew."""

import sys

from eat import kernels
from eat.checks import closest
from eat.machine import cpu_name, instructions
from eat.modules import block  # noqa: F401  # what is measured is defined beside the code that it decides for


def main() -> None:
    """Print each number, where it comes from and what it means; ``fresh=true`` measures first."""
    for argument in (typed := sys.argv[1:]):
        if argument not in ("fresh=true", "fresh=false"):
            sys.exit(f"error: expected fresh=true, got {argument!r}{closest(argument, ['fresh=true'])}")
    try:
        values = kernels.measure_anew() if "fresh=true" in typed else kernels.decided()
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"{cpu_name()} ({instructions() or 'instruction set unknown'}), {kernels.threads_text()}, {kernels.source()}")
    for name, value in values.items():
        print(f"{name}={value:g}  # {kernels.Measured.known[name].meaning}")
