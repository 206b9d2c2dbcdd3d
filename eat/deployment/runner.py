"""Run exported segments with ONNX Runtime; exits, pruning and compaction happen between them, in NumPy.

Needs numpy, onnxruntime and, for texts, tokenizers; no torch.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np

from eat.checks import folder_name, one_line, thread_count, whole_number
from eat.deployment.encoding import Encoded, TextEncoder
from eat.deployment.exits import leaves, probabilities, sets_as_classes, sigmoid
from eat.deployment.manifest import FILE, TOKENIZER, Manifest, Segment, check_parts, read_manifest
from eat.deployment.pruning import prune
from eat.deployment.rows import Rows, concatenated, segment_inputs
from eat.machine import cpu_facts

VNNI = frozenset({"avx512_vnni", "avx_vnni", "asimddp", "i8mm"})
"""Flags of processors whose 8-bit products do not saturate."""
# Fusing the residual sum into the norm made whole models 15 % slower on a CPU (ONNX Runtime 1.31, AVX-512).
SLOW_FUSIONS = ["SkipLayerNormFusion"]
ANSWER = {answer: np.array(answer) for answer in (False, True)}
PROFILES: ContextVar[Path | None] = ContextVar("PROFILES", default=None)
"""Where sessions that are opened now write the times of their operators when they end; None for nowhere."""


@dataclasses.dataclass(frozen=True, eq=False)
class OnnxOutput:
    """What `OnnxClassifier.run` answers, batch first; as `eat.packed.AdaptiveOutput`, in NumPy."""

    logits: np.ndarray  # (batch, classes) of the exit taken
    exit_depth: np.ndarray  # (batch,)
    tokens_kept: np.ndarray  # (batch, depths + 1)
    all_logits: np.ndarray | None = None  # (batch, heads, classes) where traced


@dataclasses.dataclass(frozen=True)
class OnnxAnswer:
    """One answer to a text."""

    label: str | tuple[str, ...]  # of a multi-label model every label that applies
    score: float  # probability of the label, of a multi-label model of its least sure one; the number of a regression
    exit_depth: int
    tokens: int  # tokens that came in
    tokens_kept: int  # tokens that the last block run worked on
    probabilities: tuple[float, ...] = ()  # of each class or label, in their order; none of a regression


class OnnxClassifier:
    """An exported classifier; build it with `from_folder`. One call at a time.

    Attributes:
        manifest: What the export wrote; ``exit``, ``pruner`` and ``attention`` in it decide.
    """

    def __init__(self, manifest: Manifest, sessions: Sequence[Any], encoder: TextEncoder | None) -> None:
        self.manifest = manifest
        self._sessions = sessions
        self._inputs = [[given.name for given in session.get_inputs()] for session in sessions]
        self._encoder = encoder

    @classmethod
    def from_folder(cls, folder: str | Path, threads: int = 1) -> OnnxClassifier:
        """Load a folder that `export_onnx` wrote; nothing in it is executed but its graphs.

        Args:
            folder: The folder.
            threads: Threads of a product.

        Raises:
            ImportError: If onnxruntime is not installed.
            OSError: If a file is missing.
            ValueError: If a file is not as it was exported, or the processor cannot run its products exactly.
        """
        folder = Path(folder_name("folder", folder))
        threads = thread_count("threads", threads)
        manifest = read_manifest(folder)
        if manifest.bits == 8 and not has_vnni():
            raise ValueError(
                f"{folder}: exported with 8-bit activations, which products on this processor saturate on (no VNNI); "
                "export it with bits=7"
            )
        sessions = [open_session(folder / segment.file, threads) for segment in manifest.segments]
        encoder = TextEncoder.from_file(folder / TOKENIZER, manifest) if manifest.templates else None
        return cls(manifest, sessions, encoder)

    def changed(self, **parts: Mapping[str, Any]) -> OnnxClassifier:
        """Return the same sessions with another ``exit``, ``pruner`` or ``attention``; a certificate then ends.

        Args:
            **parts: Each as ``{"name": ..., **arguments}`` with every argument that has a default filled in, as an
                export writes them; a pruner may act only where a segment ends.
        """
        filled = {name: dict(spec) for name, spec in parts.items()}
        manifest = dataclasses.replace(self.manifest, **filled, certificate=None)  # type: ignore[arg-type]
        check_parts(manifest)
        twin = copy.copy(self)
        twin.manifest = manifest
        return twin

    def predict(self, texts: Sequence[str | tuple[str, str]], batch_size: int = 32) -> list[OnnxAnswer]:
        """Classify texts, or pairs of texts; long ones are truncated as in training."""
        whole_number("batch_size", batch_size)
        encoded = self.encoder(texts)
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].ids))  # batches of like length
        found: dict[int, OnnxAnswer] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            output = self.run_encoded([encoded[i] for i in batch])
            answers = answers_of(output, self.manifest.labels, multi_label=self.manifest.multi_label)
            found |= dict(zip(batch, answers, strict=True))
        return [found[i] for i in range(len(encoded))]

    @property
    def encoder(self) -> TextEncoder:
        """What turns texts into token ids.

        Raises:
            ValueError: If the export has no tokenizer.
        """
        if self._encoder is None:
            raise ValueError("texts: expected an export with a tokenizer, got one without; use run() with token ids")
        return self._encoder

    def run_encoded(self, batch: Sequence[Encoded]) -> OnnxOutput:
        """Classify what the encoder returned."""
        ids, types = (list(chain.from_iterable(values)) for values in zip(*(one[:2] for one in batch), strict=True))
        return self.run(ids, [len(one.ids) for one in batch], types)

    def run(
        self,
        ids: Sequence[int] | np.ndarray,
        lengths: Sequence[int] | np.ndarray,
        types: Sequence[int] | np.ndarray | None = None,
        trace: bool = False,
    ) -> OnnxOutput:
        """Classify token ids, the sequences end to end.

        Args:
            ids: (tokens,) of all sequences.
            lengths: (batch,) tokens of each.
            types: (tokens,) token types; default 0.
            trace: Run every head and let no sequence exit early; ``all_logits`` is then given.

        Raises:
            ValueError: If an argument is misshapen or out of range.
        """
        state = Rows.start(*_read_batch(self.manifest, ids, lengths, types), self.manifest.protected_id)
        return _Run(self, state, trace).output()

    def _segment(self, place: int, state: Rows, answer: bool) -> np.ndarray:
        """Run one segment on groups of sequences, whose rows it writes; return the head's logits where asked."""
        segment, session, names = self.manifest.segments[place], self._sessions[place], self._inputs[place]
        of_tokens = {"rows": state.rows, "ids": state.ids, "types": state.types}
        if "positions" in names:
            of_tokens["positions"] = state.positions + self.manifest.position_offset
        outputs = []
        for group in state.groups:
            values = segment_inputs(
                state, group, self.manifest.attention, in_blocks="blocked" in names, masked=segment.received
            )
            values = values | {"answer": ANSWER[answer]} | {key: each[group.tokens] for key, each in of_tokens.items()}
            outputs.append(_outputs(session, {name: values[name] for name in names}, segment))
        joined = [concatenated(part) for part in zip(*outputs, strict=True)]
        state.rows, state.received = joined[0], joined[1] if segment.received else None
        return joined[-1]


def _outputs(session: Any, values: Mapping[str, np.ndarray], segment: Segment) -> list[np.ndarray]:
    """Run a graph."""
    try:
        outputs: list[np.ndarray] = session.run(None, values)
    except Exception as error:  # the runtime raises classes of its own that derive from nothing narrower
        raise ValueError(
            f"{segment.file}: onnxruntime cannot run it on these inputs ({one_line(error)[:200]}); is {FILE} as it was "
            "exported?"
        ) from error
    return outputs


def answers_of(
    output: OnnxOutput, labels: Sequence[str], *, multi_label: bool = False, label_threshold: float = 0.5
) -> list[OnnxAnswer]:
    """Read the answers off a batch's output; ``labels`` has one name where the answer is a number.

    Of a multi-label model those labels apply whose probability is above ``label_threshold``.
    """
    logits, named = output.logits, tuple[Any, ...]()
    if multi_label:
        each = sigmoid(logits)
        scores = np.maximum(each, 1 - each).min(1)
        named = tuple(tuple(compress(labels, row)) for row in (each > label_threshold).tolist())
    elif logits.shape[1] > 1:
        each = probabilities(logits)
        scores = each.max(1)
    else:
        each, scores = logits[:, :0], logits[:, 0]
    named = named or tuple(labels[index] for index in logits.argmax(1).tolist())
    last = np.take_along_axis(output.tokens_kept, output.exit_depth[:, None] - 1, 1)[:, 0]
    columns = (scores, output.exit_depth, output.tokens_kept[:, 0], last)
    rows = zip(named, *(column.tolist() for column in columns), map(tuple, each.tolist()), strict=True)
    return [OnnxAnswer(*row) for row in rows]


class _Run:
    """One batch on its way through the segments."""

    def __init__(self, model: OnnxClassifier, state: Rows, trace: bool) -> None:
        self.model, self.manifest, self.trace = model, model.manifest, trace
        batch = len(state.lengths)
        self.last = self.manifest.segments[-1].end
        self.tokens_kept = np.zeros((self.last + 1, batch), dtype=np.int64)
        self.exit_depth = np.full(batch, self.last)
        self.logits = np.zeros((batch, len(self.manifest.labels)), dtype=np.float32)
        self.history = np.zeros((0, *self.logits.shape), dtype=np.float32)
        self.state: Rows | None = state
        self.first = state.example

    def output(self) -> OnnxOutput:
        for place, segment in enumerate(self.manifest.segments):
            if self.state is not None:
                self.advance(place, segment, self.state)
        traced = None
        if self.trace:
            traced = np.empty((len(self.logits), *self.history.shape[::2]), dtype=np.float32)
            traced[self.first] = self.history.transpose(1, 0, 2)
        return OnnxOutput(self.logits, self.exit_depth, self.tokens_kept.T, traced)

    def advance(self, place: int, segment: Segment, state: Rows) -> None:
        manifest = self.manifest
        if segment.start in manifest.pruner.get("depths", ()):
            state = prune(state, manifest.pruner, segment.start)
        for kept in self.tokens_kept[segment.start : segment.end]:
            kept[state.example] = state.lengths
        last = segment.end == self.last
        answer = segment.head and (last or self.trace or manifest.exit["name"] != "never")
        self.state, logits = state, self.model._segment(place, state, answer)
        if not answer:
            return
        temperature = manifest.temperatures[manifest.head_depths.index(segment.end)]
        logits = logits if temperature == 1 else logits / np.float32(temperature)
        self.history = np.concatenate((self.history, logits[None]))
        if last:
            leave = np.ones(len(logits), dtype=bool)
        elif self.trace:
            return
        else:
            leave = leaves(manifest.exit, sets_as_classes(self.history) if manifest.multi_label else self.history)
        if not leave.any():
            return
        leaving = state.example[leave]
        self.logits[leaving] = logits[leave]
        self.exit_depth[leaving] = segment.end
        self.state = None
        if not leave.all():
            self.state, self.history = state.keep_sequences(~leave), self.history[:, ~leave]


def _read_batch(manifest: Manifest, ids: Any, lengths: Any, types: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids, lengths = _integers("ids", ids), _integers("lengths", lengths)
    types = np.zeros_like(ids) if types is None else _integers("types", types)
    if not len(lengths) or lengths.min() < 1 or lengths.max() > manifest.max_length:
        raise ValueError(
            f"lengths: expected sequences of 1 to {manifest.max_length} tokens, got {lengths.tolist()[:9]}"
        )
    if lengths.sum() != len(ids) or len(types) != len(ids):
        raise ValueError(f"ids: expected {lengths.sum()} ids and types, as lengths say, got {len(ids)}, {len(types)}")
    limit = max(manifest.num_types, 1)
    if ids.min() < 0 or ids.max() >= manifest.vocab_size or types.min() < 0 or types.max() >= limit:
        raise ValueError(
            f"ids: expected token ids in [0, {manifest.vocab_size}) and types in [0, {limit}), got ids from "
            f"{ids.min()} to {ids.max()} and types from {types.min()} to {types.max()}; is it this model's tokenizer?"
        )
    return ids, lengths, types


def _integers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or not array.size):
        raise ValueError(f"{name}: expected a flat list of integers, got {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)


def has_vnni() -> bool:
    """Return whether this processor's 8-bit products do not saturate."""
    return not VNNI.isdisjoint(cpu_facts().split())


def open_session(path: Path, threads: int) -> Any:
    """Open a graph with ONNX Runtime on the CPU.

    Raises:
        ImportError: If onnxruntime is not installed.
        ValueError: If it cannot run the graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("onnxruntime is not installed: pip install 'eat-transformers[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    if (profiles := PROFILES.get()) is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profiles / path.stem)
    # Its threads wait busily for work; between two runs they would take the processor from others.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS
        )
    except Exception as error:  # the runtime raises classes of its own that derive from nothing narrower
        reason = one_line(error)[:200]
        raise ValueError(f"{path}: onnxruntime {onnxruntime.__version__} cannot run it ({reason})") from error
