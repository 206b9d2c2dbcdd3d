"""How a report begins and ends: what it is about, what else it depends on, and the command that repeats it."""

from collections.abc import Mapping

from eat.evaluation.context import Evaluation
from eat.evaluation.report.certificate import certificate_note
from eat.evaluation.report.rows import run_row
from eat.evaluation.report.section import Section

CHOSEN_ON_REPORTED = (
    "All official rows were trained on (holdout=none, the paper's protocol): thresholds are chosen on the reported "
    "split itself, so that figures at chosen thresholds are too good, and nothing is certified."
)


def about_section(run: Evaluation) -> Section:
    """Name the task, the parts of the model, the operating point and the splits."""
    row = run_row(run.run, run.traces.reported.config)
    lines = [f"Task {row['task']}, backbone {row['backbone']} with {row['num_layers']} layers, budget {row['budget']}."]
    parts = [f"attention {row['attention']}" + (f" (window {row['window']})" if row["window"] else "")]
    parts += [f"pruner {row['pruner']}" + (f" ({row['ratio']} after {row['depths']})" if row["depths"] else "")]
    parts += [f"heads at {row['head_depths']} on {row['head_pooling']}", f"objective {row['objective']}"]
    compression = (run.run.config.get("compression") or {}).get("name", "none")
    parts += [f"compression {compression}"] if compression != "none" else []
    lines += [f"{', '.join(parts)}; seed {row['seed']}.", f"Operating point of this report: {_point(run)}."]
    lines += [] if run.engine.is_eat else [f"Engine: {run.engine.label}. All answers below are its own."]
    lines += [CHOSEN_ON_REPORTED] if run.traces.chooses_on_reported else []
    lines += [f"- {s.name}: {s.examples:,} examples, {s.data}" for s in run.findings.splits]
    text = "\n".join(line[0].upper() + line[1:] for line in lines)
    return Section(markdown=f"# {run.run.name}\n\n{text}")


def _point(run: Evaluation) -> str:
    """Name the operating point, and what the run's certificate says of it."""
    certificate = run.certificate
    if certificate is None:
        return run.own.label
    note = certificate_note(certificate)
    if run.own == certificate.exit:
        return f"{run.own.label}, certified: {note}"
    return f"{run.own.label}; certified is {certificate.exit.label} ({note}), which says nothing of this point"


def environment_section(run: Evaluation) -> Section:
    """List what the run noted of its machine, then the command."""
    facts = run.run.environment()
    lines = [f"- {key}: {value}" for key, value in facts.items() if not isinstance(value, Mapping | list)]
    packages = facts.get("packages") or {}
    lines += [f"- packages: {', '.join(f'{name} {version}' for name, version in packages.items())}"] if packages else []
    return Section("Environment", "\n".join([*(lines or ["The run noted nothing."]), "", f"    {run.command}"]))
