"""A temperature for each head whose probabilities cannot be trusted, kept in the saved model."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eat.benchmark.stored import checked
from eat.checks import number, shown, true_or_false
from eat.files import read_object, write_text
from eat.models.config import AdaptiveConfig
from eat.models.granted import EAT
from eat.ops.temperature import fit_temperature
from eat.runs.engines import EngineState
from eat.runs.finished import FinishedRun
from eat.traces.heads import HeadCalibration, measure_heads
from eat.traces.run_traces import RunTraces, trace_path, with_heads_temperatures
from eat.traces.storage import write_trace
from eat.traces.trace import Trace


@dataclasses.dataclass(frozen=True)
class CalibrationSettings:
    """How heads are calibrated."""

    apply: bool = True  # write the temperatures into the saved model; False only reports them
    max_ece: int | float = 0.02  # heads with a larger ECE on the threshold split get a temperature; the paper's 2 %

    def __post_init__(self) -> None:
        """Check the values."""
        true_or_false("calibrate.apply", self.apply)
        number("calibrate.max_ece", self.max_ece, at_least=0, below=1)


@dataclasses.dataclass(frozen=True)
class SplitCalibration:
    """Every head on one split, in order: raw (``before``), and divided by its temperature (``after``)."""

    examples: int
    before: tuple[HeadCalibration, ...]
    after: tuple[HeadCalibration, ...]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What `calibration.json` holds."""

    run: str
    fitted_on: str  # the split
    max_ece: int | float  # the bound above which a head got a temperature
    head_depths: tuple[int, ...]
    temperatures: tuple[float, ...]  # one per head, 1 where none was needed
    applied: bool  # whether the saved model has them now
    splits: Mapping[str, SplitCalibration]  # the split that they were fitted on, and the reported ones
    engine: str = EAT  # whose answers they were fitted on

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file; eat's own engine is not named, as before there were others."""
        return {key: value for key, value in dataclasses.asdict(self).items() if (key, value) != ("engine", EAT)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Calibration":
        """Read back what `to_json` returned.

        Raises:
            KeyError: If something is missing.
            TypeError: If something is of another type at the outside.
            ValueError: If a value within is of another type or out of range.
        """
        lists = {key: tuple(values[key]) for key in ("head_depths", "temperatures")}
        splits = {
            name: SplitCalibration(
                split["examples"],
                *(tuple(HeadCalibration(**head) for head in split[when]) for when in ("before", "after")),
            )
            for name, split in values["splits"].items()
        }
        found = checked(cls(**{**values, **lists, "splits": splits}))
        if len(found.temperatures) != len(found.head_depths):
            raise ValueError(f"temperatures: expected {len(found.head_depths)}, one per head")
        for temperature in found.temperatures:
            number("temperatures", temperature, above=0)
        return found


def fit_temperatures(trace: Trace, max_ece: float) -> tuple[float, ...]:
    """Fit a temperature, on raw logits, for each head whose ECE is above a bound; the others get 1.

    Raises:
        ValueError: If the model predicts a score, or the split holds one class only.
    """
    measured = measure_heads(trace)  # which refuses a score
    labels = torch.tensor(trace.questions(trace.full_depth)[1], dtype=torch.long)
    if labels.unique().numel() < 2:
        raise ValueError(
            f"calibrate: all {len(trace)} examples of the split {shown(trace.metadata.get('split', ''))} are of one "
            f"class, {labels[0]}; a temperature can only be fitted on two or more"
        )
    return tuple(
        fit_temperature(torch.from_numpy(trace.questions(trace.all_logits[:, head])[0]), labels)
        if found.ece > max_ece
        else 1.0
        for head, found in enumerate(measured)
    )


def apply_temperatures(run: FinishedRun, traces: RunTraces, temperatures: Sequence[float] | None) -> RunTraces:
    """Write temperatures into a saved model, and beside its traces for when the weights are gone.

    The model's configuration is replaced in one step and rules from then on; the logits in the files stay raw. What
    comes back is what the calibrated model answers. Temperatures of another engine than eat's own, which the traces
    name, go into ``engines/``.
    """
    config = with_heads_temperatures(run.model_config(), temperatures)
    AdaptiveConfig.from_dict(dict(config)).check()
    engine = traces.engine
    if engine.is_eat:
        text = json.dumps(config, indent=2, sort_keys=True)
        write_text(run.folder / "model" / "config.json", text + "\n")
    else:
        state, ones = run.engine_state(engine), (1.0,) * len(traces.reported.head_depths)
        certificate = None if state is None else state.certificate
        EngineState(run.raw_fingerprint(engine), tuple(temperatures or ones), certificate).write(run.folder, engine)
    for name, trace in traces.files.items():
        metadata = trace.raw.metadata | {"config": with_heads_temperatures(trace.raw.config, temperatures)}
        write_trace(dataclasses.replace(trace.raw, metadata=metadata), trace_path(run, name, engine))
    return traces.calibrated(temperatures)


def read_temperatures(folder: Path, reported: Trace) -> Sequence[float] | None:
    """Return the temperatures that an earlier calibration of these weights fitted; else those of the trace.

    Those of other weights are left out: there the heads' accuracies on the reported split differ.
    """
    path = folder / "calibration.json"
    if not path.is_file():
        return reported.temperatures
    try:
        found = Calibration.from_json(read_object(path))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is damaged ({said}); delete it and run stages=[calibrate] again") from error
    split = found.splits.get(reported.split)
    same = split is not None and [h.accuracy for h in split.before] == [h.accuracy for h in measure_heads(reported)]
    return found.temperatures if same else reported.temperatures
