"""Drift guard: watch a certified model in service, and fall back to full depth when traffic has drifted."""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eat.checks import number, one_of, shown, whole_number
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.stream import Prediction
from eat.monitoring.batches import Batch, as_output, merge, remembered, rows_alike, source_names
from eat.monitoring.lanes import Lanes, certificate_of
from eat.monitoring.prometheus import exposition
from eat.monitoring.sources import DEFAULT, Source, SourcePoint, check_names, read_source
from eat.monitoring.state import check_keys, check_same
from eat.monitoring.watch import FALLBACK, SUSPICIOUS, Watch
from eat.packed import AdaptiveOutput
from eat.traces.profile import measure

log = logging.getLogger(__name__)


class DriftGuard:
    """Drift guard: answers as a certified model does, watches its answers, and goes to full depth when traffic drifts.

    Exit depth, confidence, retention and length of the answers are tested against what the certification split showed
    (`eat.monitoring.martingale.DriftTest`). While traffic is exchangeable with it, the probability that the guard EVER
    fires is at most ``false_alarm``, however long it runs. Longer texts, for instance, drift although each may still be
    answered well: the test says that the certificate's condition no longer holds, not that answers are wrong; nor can
    it see a drift that leaves all four quantities as they were, such as labels that mean something else.

        guard = DriftGuard(model, false_alarm=0.01)
        output = guard(input_ids=ids, attention_mask=mask)  # as the model answers
        if guard.fired:
            page_somebody(guard.report())

    Once a source has fired, its later answers are at full depth, which needs no certificate, with the pruning that its
    certified losses are measured against: the model's own, or the one that the certificate names (of a variant,
    certified against another pruning of its weights). Answers already under way stand. At full depth exit depth and
    retention follow from length alone and confidence is another head's, so the test stands still, and counts and
    histograms go on. `reset` returns to the certified point and begins a new test: the rate holds per start.

    The guard never changes the model, its configuration or its certificate; fallback and sources run on copies that
    share its tensors. Calls may come from several threads: observing is locked, the model's own call is not and is
    thread-safe where the model is (not with CUDA graphs). A model that loses its certificate or moves to another
    device needs a new guard.

    Args:
        model: Certified, in evaluation mode.
        false_alarm: In (0, 1); shared equally by the watched sources, so that it bounds a false alarm of any.
        sources: Operating points of texts from named sources: the folder of a model with the same weights that was
            certified on such texts, its certificate, or an exit's spec. A bare spec guarantees nothing, and is counted
            but not watched. Each source is tested against its own profile and falls back by itself.
        min_retention: Suspicious rows keep at least this part of their tokens, in [0, 1]; 1 keeps all.
        window: Answers that recent percentiles are about.
        seed: Of the draws that break ties in the test.

    Raises:
        ValueError: If an argument is out of range; if the model has no certificate that holds, or one without a
            profile or against another model's full depth.
        RuntimeError: In training mode.
    """

    def __init__(
        self,
        model: AdaptiveForSequenceClassification,
        *,
        false_alarm: float = 0.01,
        sources: Mapping[str, Source] | None = None,
        min_retention: int | float = 1.0,
        window: int = 1000,
        seed: int = 0,
    ) -> None:
        number("false_alarm", false_alarm, above=0, below=1)
        number("min_retention", min_retention, at_least=0, at_most=1)
        whole_number("window", window)
        certificate = certificate_of(model)
        check_names(sources or {})
        points = {DEFAULT: SourcePoint.from_certificate(certificate)}
        points |= {name: read_source(name, given, certificate["model"]) for name, given in (sources or {}).items()}
        self.false_alarm = false_alarm
        self._fingerprint = certificate["model"]
        self._lanes = Lanes(model, points, float(min_retention), owner="DriftGuard")
        share = false_alarm / sum(point.profile is not None for point in points.values())
        layers, self._multi_label = model.num_layers, model.config.multi_label
        self._watches = {
            name: Watch(point, num_layers=layers, false_alarm=share, window=window, seed=seed + place)
            for place, (name, point) in enumerate(points.items())
        }
        self._lock = threading.Lock()

    @property
    def fired(self) -> tuple[str, ...]:
        """Sources that have fired since their last start; empty, hence false, where none has."""
        with self._lock:
            return tuple(name for name, watch in self._watches.items() if watch.fired)

    @torch.inference_mode()
    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        source: str | Sequence[str] = DEFAULT,
        suspicious: Sequence[bool] | Tensor | None = None,
    ) -> AdaptiveOutput:
        """Answer a batch, under ``torch.inference_mode``, and take note of the answers.

        Tensors are as the model takes them; ``source`` says where the texts come from, one name or one per row. Rows
        that the caller distrusts (``suspicious``) are answered at full depth with ``min_retention``, counted and not
        tested; where they are many, what remains is no longer like the certification split.

        Raises:
            ValueError: If the model refuses the input, a source is unknown, or there is not one value per row.
            RuntimeError: If the model has lost its certificate or moved since the guard was made.
        """
        self._lanes.check()
        batch = Batch.read(input_ids, attention_mask, token_type_ids, lengths)
        for name in {source} if isinstance(source, str) else set(source_names(source, len(batch))):
            self._watch(name)
        answers = []
        for (name, distrusted), rows in rows_alike(len(batch), source, suspicious).items():
            part = batch if len(rows) == len(batch) else batch.select(rows)
            model, order = self._route(name, distrusted)
            output = model(part.input_ids, part.attention_mask, part.token_type_ids, lengths=part.lengths)
            self._take(name, output, order)
            answers.append((rows, output))
        return merge(answers)

    def predict_stream(
        self,
        examples: Iterable[Mapping[str, Any]],
        batch_size: int = 32,
        *,
        max_in_flight: int | None = None,
        source: str = DEFAULT,
    ) -> Iterator[Prediction]:
        """Answer a stream of one source's examples as the model's ``predict_stream`` does, and take note of each.

        When the guard fires, what was read and not yet handed out is answered again at full depth, so that all later
        answers are. Errors name an example by its place since the last such change. Arguments are as the model's, and
        ``source``, where the texts come from.

        Raises:
            ValueError: If the source is unknown; else as the model's.
            RuntimeError: If the model has lost its certificate or moved since the guard was made.
        """
        self._watch(source)
        incoming: Iterator[Mapping[str, Any]] = iter(examples)
        while True:
            self._lanes.check()
            waiting: deque[Mapping[str, Any]] = deque()
            model, order = self._route(source, False)
            reading = remembered(incoming, waiting)
            for prediction in model.predict_stream(reading, batch_size, max_in_flight=max_in_flight):
                waiting.popleft()
                self._take(source, as_output(prediction), order)
                yield prediction
                if self._route(source, False)[1] != order:
                    break
            else:
                return
            incoming = chain(tuple(waiting), incoming)

    def observe(self, output: AdaptiveOutput, *, source: str = DEFAULT) -> bool:
        """Take note of answers that the caller got from the model at the source's operating point.

        Returns:
            Whether the source has fired: it is then for the caller to fall back.

        Raises:
            ValueError: If the source is unknown, or the output has no logits, depths or tokens kept.
        """
        self._watch(source)
        self._take(source, output, None)
        return source in self.fired

    def reset(self, source: str | None = None) -> None:
        """Return to the certified point and begin a new drift test: of one source, or of all where None is named.

        Raises:
            ValueError: If the source is unknown.
        """
        with self._lock:
            for watch in self._watches.values() if source is None else [self._watch(source)]:
                if watch.test is not None:
                    watch.test.restart()

    def report(self) -> dict[str, Any]:
        """Return for each source: exit, whether watched and fired, the test, reasons and percentiles; JSON values."""
        with self._lock:
            return {name: watch.report() for name, watch in self._watches.items()}

    def prometheus(self) -> str:
        """Return all counts, histograms and tests in Prometheus' text format 0.0.4.

        Raises:
            ImportError: If ``prometheus_client`` is not installed (the extra ``monitoring``).
        """
        with self._lock:
            return exposition(self._watches)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON values, with which a restarted service goes on with the same test."""
        with self._lock:
            return self._identity() | {"watches": {name: watch.state_dict() for name, watch in self._watches.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a guard of the same model, sources and rate stopped.

        Raises:
            ValueError: If the state is about another model, other operating points or another rate, or a part of it is
                missing or misshapen; the guard then stays as it was.
        """
        check_same(state, self._identity(), "guard")
        check_keys("state['watches']", state.get("watches"), self._watches)
        with self._lock:
            watches = copy.deepcopy(self._watches)
            for name, watch in watches.items():
                try:
                    watch.load_state_dict(state["watches"][name])
                except ValueError as error:
                    raise ValueError(f"state['watches'][{shown(name)}]: {error}") from None
            self._watches = watches

    def _identity(self) -> dict[str, Any]:
        """Return what a saved state must agree with."""
        profiles = {name: watch.point.profile for name, watch in self._watches.items()}
        return {
            "model": self._fingerprint,
            "false_alarm": self.false_alarm,
            "exits": {name: watch.point.exit for name, watch in self._watches.items()},
            "profiles": {name: profile and profile.to_dict() for name, profile in profiles.items()},
        }

    def _watch(self, source: str) -> Watch:
        return self._watches[one_of("source", source, self._watches)]

    def _route(self, source: str, suspicious: bool) -> tuple[AdaptiveForSequenceClassification, str | None]:
        """Return who answers, and by which order at full depth."""
        if suspicious:
            return self._lanes.careful, SUSPICIOUS
        with self._lock:
            fired = self._watches[source].fired
        return (self._lanes.full[source], FALLBACK) if fired else (self._lanes.by_source[source], None)

    def _take(self, source: str, output: AdaptiveOutput, order: str | None) -> None:
        """Take note of answers; say so if they made the guard fire."""
        if output.logits is None or output.exit_depth is None or output.tokens_kept is None:
            raise ValueError("output: expected logits, exit_depth and tokens_kept, got one without")
        logits = output.logits.detach().double().cpu().numpy()
        values = measure(logits, output.exit_depth.cpu().numpy(), output.tokens_kept.cpu().numpy(), self._multi_label)
        with self._lock:
            watch = self._watches[source]
            fires = watch.observe(values, np.isfinite(logits).all(axis=1), order)
        if fires and watch.test is not None:
            log.warning(
                "traffic of source %r no longer looks like the certification split: after %d answers the martingale is "
                "%.3g (alarm at %.3g; by quantity %s). The guard answers it at full depth from now on",
                *(source, watch.test.examples, watch.test.martingale, watch.test.threshold, watch.test.martingales),
            )
