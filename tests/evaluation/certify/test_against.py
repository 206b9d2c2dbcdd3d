"""Certificates against a dense run: on the same rows or not at all, with gains set off or left out."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from eat.evaluation.certify.certificate import make_certificate
from eat.evaluation.certify.losses import RISKS
from eat.evaluation.certify.settings import CertifySettings
from eat.evaluation.report.certificate import certificate_markdown
from eat.traces.replay import replay
from eat.traces.run_traces import RunTraces
from eat.traces.trace import Trace
from tests.made.traces import make_run

pytestmark = pytest.mark.usefixtures("no_bootstrap")
THRESHOLDS = {"confidence": [0.6, 0.7, 0.8, 0.9, 0.94, 0.97, 0.99, 0.995, 0.999]}


def traces(name: str, change: Any = lambda trace: trace, data: str | None = "abc") -> RunTraces:
    splits = {}
    for split, trace in make_run().items():
        made: Trace = change(dataclasses.replace(trace, metadata=trace.metadata | {"data_fingerprint": data}))
        splits[split] = made
    return RunTraces.of(name, splits)


def dense_like(trace: Trace) -> Trace:
    """Answer as the full depth does but for a few rows, some better and some worse."""
    full = trace.full_depth.copy()
    full[::40] *= -1
    return dataclasses.replace(trace, all_logits=full[:, None], head_depths=(3,))


def certify(dense: RunTraces, loss: str, max_drop: float = 0.06, **more: Any) -> Any:
    settings = CertifySettings(max_drop=max_drop, loss=loss, criteria=["confidence"], **more)
    return make_certificate({"eat": traces("eat")}, settings, THRESHOLDS, dense)


@pytest.mark.parametrize("loss", RISKS)
def test_losses_are_those_against_the_dense_answers(loss: str) -> None:
    dense, own = traces("dense", dense_like), traces("eat").splits["certification"]
    result = certify(dense, loss, max_drop=0.08)
    found = result.certificate
    assert found is not None and found.reference == "full depth of dense" and result.settings.reference == "dense"
    answered = replay(own, found.exit).logits
    losses = RISKS[loss].loss(answered, dense.splits["certification"].full_depth, own.labels)
    assert found.observed == pytest.approx(losses.mean()) and found.loss == loss
    first = result.tested[0]
    assert first.exit.name == "never" and first.lost != 0, "full depth of the run is not the dense one's"
    assert "compared with full depth of dense" in certificate_markdown(result)


def test_gains_are_set_off_in_the_signed_drop_alone() -> None:
    """The dense run's spoilt answers are gains of the run where the dense one is wrong by them."""
    dense = traces("dense", dense_like)
    gap, drop = certify(dense, "accuracy_gap"), certify(dense, "accuracy_drop")
    full_gap, full_drop = gap.tested[0], drop.tested[0]
    assert full_drop.lost < 0 <= full_gap.lost and full_drop.upper_bound < full_gap.upper_bound
    assert drop.certificate.average_depth <= gap.certificate.average_depth
    assert drop.certificate.observed < gap.certificate.observed


def always_right(trace: Trace) -> Trace:
    return dataclasses.replace(trace, all_logits=np.eye(2)[trace.labels][:, None] * 9.0, head_depths=(3,))


def test_full_depth_itself_may_lose_too_much() -> None:
    refused = certify(traces("dense", always_right), "accuracy_gap", max_drop=0.01)
    assert refused.certificate is None and refused.refusal.failed.exit.name == "never"
    assert refused.refusal.reason == "the most cautious exits lose too much"


@pytest.mark.parametrize(
    ("dense", "message"),
    [
        (traces("dense", data="xyz"), r"dense answers other data than eat in threshold \(fingerprints xyz and abc\)"),
        (traces("dense", data=None), r"dense answers other data than eat in threshold \(fingerprints None and abc\)"),
        (
            traces("dense", lambda t: dataclasses.replace(t, labels=t.labels[::-1].copy())),
            r"certify.reference: dense: its trace must answer the same 400 examples of 'threshold', in order",
        ),
        (
            RunTraces.of("dense", {k: v for k, v in traces("dense").splits.items() if k != "certification"}),
            r"the same 1500 examples of 'certification', in order; it has the splits \['threshold', 'validation'\]",
        ),
        (
            traces("dense", lambda t: dataclasses.replace(t, task=dataclasses.replace(t.task, label_names=("a", "b")))),
            r"certify.reference: expected the classes \('no', 'yes'\), dense has \('a', 'b'\)",
        ),
    ],
    ids=["data", "unknown", "rows", "split", "classes"],
)
def test_a_reference_on_other_rows_is_refused(dense: RunTraces, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(dense, "accuracy_gap")
