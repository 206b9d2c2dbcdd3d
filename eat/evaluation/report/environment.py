"""What a report depends on besides the run, and the command that repeats it."""

from collections.abc import Mapping

from eat.evaluation.context import Evaluation
from eat.evaluation.report.section import Section


def environment_section(run: Evaluation) -> Section:
    """List what the run noted of its machine, then the command."""
    facts = run.run.environment()
    lines = [f"- {key}: {value}" for key, value in facts.items() if not isinstance(value, Mapping | list)]
    packages = facts.get("packages") or {}
    lines += [f"- packages: {', '.join(f'{name} {version}' for name, version in packages.items())}"] if packages else []
    return Section("Environment", "\n".join([*(lines or ["The run noted nothing."]), "", f"    {run.command}"]))
