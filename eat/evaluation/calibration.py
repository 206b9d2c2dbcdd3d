"""A temperature for each head whose probabilities cannot be trusted, kept in the saved model."""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from eat.files import write_text
from eat.models.config import AdaptiveConfig
from eat.ops.temperature import fit_temperature
from eat.runs.finished import FinishedRun
from eat.traces.heads import measure_heads
from eat.traces.run_traces import RunTraces, read_raw_traces, trace_path, with_heads_temperatures
from eat.traces.storage import write_trace
from eat.traces.trace import Trace

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CalibrationSettings:
    """How heads are calibrated.

    Attributes:
        apply: Write the temperatures into the saved model; False only reports them.
        max_ece: A head gets a temperature where its ECE on the threshold split is above this; the paper's 2 %.
    """

    apply: bool = True
    max_ece: int | float = 0.02

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: Naming the one that is out of range.
        """
        if not isinstance(self.apply, bool):
            raise ValueError(f"calibrate.apply: expected true or false, got {self.apply!r}")
        if isinstance(self.max_ece, bool) or not isinstance(self.max_ece, int | float) or not 0 <= self.max_ece < 1:
            raise ValueError(f"calibrate.max_ece: expected a number in [0, 1), got {self.max_ece!r}")


def fit_temperatures(trace: Trace, max_ece: float) -> tuple[float, ...]:
    """Fit a temperature for each head whose ECE is above a bound; the others get 1.

    Args:
        trace: Raw logits of the split to fit on.
        max_ece: The bound.

    Raises:
        ValueError: If the model predicts a score, or the split holds one class only.
    """
    labels = torch.tensor(trace.labels, dtype=torch.long)
    if labels.unique().numel() < 2 and not trace.is_regression:
        raise ValueError(
            f"calibrate: all {len(trace)} examples of the split {trace.metadata.get('split', '')!r} are of one class, "
            f"{labels[0]}; a temperature can only be fitted on two or more"
        )
    return tuple(
        fit_temperature(torch.from_numpy(trace.all_logits[:, head]), labels) if found.ece > max_ece else 1.0
        for head, found in enumerate(measure_heads(trace))
    )


def calibrate(run: FinishedRun, traces: RunTraces, settings: CalibrationSettings) -> dict[str, Any]:
    """Fit temperatures on the threshold split; write them into the saved model where that is there and wanted.

    Args:
        run: The run.
        traces: Its traces.
        settings: When a head gets a temperature, and whether the model gets them.

    Returns:
        What `calibration.json` holds: the temperatures, and every head on every split before and after.

    Raises:
        ValueError: If there is no threshold split, or it does not allow a fit.
    """
    held_out = traces.need("threshold", "calibrate").raw
    temperatures = fit_temperatures(held_out, settings.max_ece)
    shown = {held_out.split: held_out} | {name: traces.splits[name].raw for name in traces.all_off}
    applied = settings.apply and run.has_weights
    if applied:
        apply_temperatures(run, None if set(temperatures) == {1.0} else temperatures)
    elif settings.apply:
        log.info("calibrate: %s has no model/ to write the temperatures to; they are only reported", run.folder)
    return {
        "run": run.name,
        "fitted_on": held_out.split,
        "max_ece": settings.max_ece,
        "head_depths": list(held_out.head_depths),
        "temperatures": list(temperatures),
        "applied": applied,
        "splits": {
            name: {
                "examples": len(trace),
                "before": [dataclasses.asdict(head) for head in measure_heads(trace)],
                "after": [dataclasses.asdict(head) for head in measure_heads(trace.divided(temperatures))],
            }
            for name, trace in shown.items()
        },
    }


def apply_temperatures(run: FinishedRun, temperatures: Sequence[float] | None) -> None:
    """Write temperatures into a saved model, and beside its traces for when the weights are gone.

    The model's configuration is replaced in one step and rules from then on; the logits in the traces stay raw.

    Raises:
        ValueError: If there is not one positive number per head.
        OSError: If a file cannot be written.
    """
    config = with_heads_temperatures(run.model_config(), temperatures)
    AdaptiveConfig.from_dict(dict(config)).check()
    text = json.dumps(config, indent=2, sort_keys=True)
    write_text(run.folder / "model" / "config.json", text + "\n")
    for name, trace in read_raw_traces(run).items():
        known: Mapping[str, Any] = trace.metadata["config"]
        metadata = trace.metadata | {"config": with_heads_temperatures(known, temperatures)}
        write_trace(dataclasses.replace(trace, metadata=metadata), trace_path(run, name))
