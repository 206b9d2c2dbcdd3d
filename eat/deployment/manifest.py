"""What an exported folder says of itself: ``eat_onnx.json``, names and numbers alone, checked when it is read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from eat.checks import as_typed, number, one_line, one_of, several, shown, some_of, true_or_false, whole_number
from eat.deployment.exits import check_exit
from eat.deployment.pruning import check_pruner
from eat.files import read_object
from eat.models.granted import check_intact, encode, engine_of

FILE = "eat_onnx.json"
TOKENIZER = "tokenizer.json"
EXPORTS = ("onnx", "onnx_int8", "onnx_static")
"""What can be exported; the engine that runs it is called so behind ``eat_``."""
FORMAT = 1
"""Of the folder; a newer one is refused."""


_LATER = frozenset({"multi_label", "num_texts", "digest"})  # keys that older exports lack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """One graph: the blocks between two places where rows or sequences may leave."""

    file: str
    start: int  # blocks that ran before it
    end: int  # depth of its last block
    head: bool  # whether a head reads the rows there
    received: bool = False  # whether it reports the attention that each token received in its last block


@dataclasses.dataclass(frozen=True, kw_only=True)
class Template:
    """Where special tokens stand around one text or a pair."""

    special_ids: list[list[int]]  # before each text, and after the last
    special_types: list[list[int]]  # their token types
    text_types: list[int]  # token type of each text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that the runner knows of a model."""

    format: int
    engine: str  # "eat_" and one of `EXPORTS`
    bits: int | None  # of an activation in an int8 product: 8, or 7 for processors without VNNI; None in float32
    segments: list[Segment]
    dim: int
    vocab_size: int
    num_types: int
    max_length: int
    position_offset: int
    protected_id: int | None  # separator in the vocabulary
    attention: dict[str, Any]
    pruner: dict[str, Any]
    exit: dict[str, Any]
    temperatures: list[float]  # what divides each head's logits, by ascending depth
    labels: list[str]
    fingerprint: str  # of weights, configuration and engine
    certificate: dict[str, Any] | None  # of this engine, for this model and its exit
    templates: list[Template]  # for one text, and for a pair where the tokenizer takes pairs
    files: dict[str, str]  # name -> SHA-256 of every other file
    multi_label: bool = False  # whether each output is a label with a sigmoid of its own
    num_texts: int | None = None  # of what an input was made in training: 1 text, 2 for pairs; None where nobody said
    digest: str | None = None  # of all other values, so that a certificate ends where one was edited

    @cached_property
    def head_depths(self) -> list[int]:
        """Depths with a head, in ascending order."""
        return [segment.end for segment in self.segments if segment.head]

    def text(self) -> str:
        """Return it as JSON, with its digest."""
        return json.dumps(dataclasses.asdict(self) | {"digest": self.own_digest()}, indent=1) + "\n"

    def own_digest(self) -> str:
        """Return 16 hex digits that name all values but the digest."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "digest"}
        return hashlib.sha256(encode(values)).hexdigest()[:16]


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest and every file that it names.

    Raises:
        FileNotFoundError: If the folder, the manifest or a file is missing.
        ValueError: If the format is newer, a value is not as an export writes it, or a file is not what was written.
    """
    if not (folder / FILE).is_file():
        raise FileNotFoundError(f"folder: expected an exported model with {FILE} in {folder}; eat export writes one")
    values = read_object(folder / FILE)
    version = whole_number(f"{FILE}: format", values.get("format"))
    if version > FORMAT:
        raise ValueError(f"{FILE}: expected format {FORMAT} or older, got {version}; install a newer eat to read it")
    known = {field.name for field in dataclasses.fields(Manifest)}
    odd = sorted((set(values) ^ known) - _LATER)
    if odd:
        raise ValueError(f"{FILE}: expected the keys {sorted(known)}, got others or none of {odd}; export again")
    try:
        values["segments"] = [Segment(**segment) for segment in values["segments"]]
        values["templates"] = [Template(**template) for template in values["templates"]]
        manifest = Manifest(**values)
        _check(manifest)
    except (TypeError, KeyError, AttributeError) as error:
        said = one_line(error)[:200]
        raise ValueError(f"{FILE}: expected what an export writes, got a value of another kind ({said})") from error
    except ValueError as error:
        raise ValueError(f"{FILE}: {error}; export again") from error
    for name, digest in manifest.files.items():
        _check_file(folder, name, digest)
    return manifest


def check_certificate(
    certificate: Mapping[str, Any], where: str, engine: str, bits: int | None, fingerprint: str, exit: Mapping[str, Any]
) -> None:
    """Check that a certificate is as it was granted, and holds for an export.

    Args:
        certificate: The certificate.
        where: What messages call it.
        engine: What runs the export.
        bits: Of an activation in its int8 products.
        fingerprint: Of weights, configuration and engine.
        exit: The exported exit, with every argument.

    Raises:
        ValueError: If it was edited, or is about another engine, model or exit.
    """
    check_intact(certificate, where, digest_expected=True)
    about = engine_of(certificate), certificate.get("bits")
    if about != (engine, bits):
        raise ValueError(f"{where}: expected one made with {engine} (bits {bits}), got one of {about[0]} ({about[1]})")
    if (certificate["model"], certificate["exit"]) != (fingerprint, exit):
        raise ValueError(
            f"{where}: expected one about the exported model {fingerprint} and its exit {shown(dict(exit))}, got one "
            f"about {shown(certificate['model'])} and {shown(certificate['exit'])}"
        )


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_parts(manifest: Manifest) -> None:
    """Check attention, pruner and exit, and that the segments can be run with them.

    Raises:
        ValueError: If a value is of another type or out of range, or a pruner acts where no segment ends.
    """
    attention, pruner = manifest.attention, manifest.pruner
    if one_of("attention.name", attention.get("name"), ("full", "windowed")) == "windowed":
        if whole_number("attention.window", attention.get("window"), at_least=2) % 2:
            raise ValueError(f"attention.window: expected an even number, got {attention['window']}")
        some_of("attention.global_tokens", attention.get("global_tokens"), ("cls", "sep"))
    check_pruner(pruner)
    check_exit(manifest.exit, len(manifest.labels), manifest.multi_label)
    ends = {segment.end: segment.received for segment in manifest.segments}
    depths = pruner.get("depths", ())
    if any(depth not in ends for depth in depths):
        raise ValueError(f"pruner.depths: expected depths at which a segment ends, {sorted(ends)}, got {depths}")
    if pruner["name"] == "attention_received" and not all(ends[depth] for depth in depths):
        raise ValueError("pruner.name: 'attention_received' needs an export with this pruner, got one without")


def _check(manifest: Manifest) -> None:
    """Check every value; what was edited may be of any type."""
    one_of("engine", manifest.engine, [f"eat_{name}" for name in EXPORTS])
    if manifest.bits not in ((None,) if manifest.engine == "eat_onnx" else (7, 8)):
        raise ValueError(f"bits: expected none in float32, 7 or 8 in int8, got {shown(manifest.bits)}")
    for name, least in (("dim", 1), ("vocab_size", 1), ("max_length", 1), ("num_types", 0), ("position_offset", 0)):
        whole_number(name, getattr(manifest, name), least)
    if manifest.protected_id is not None:
        whole_number("protected_id", manifest.protected_id, 0)
    true_or_false("multi_label", manifest.multi_label)
    whole_number("num_texts", 1 if manifest.num_texts is None else manifest.num_texts, at_most=2)
    labels = several("labels", manifest.labels, "['no', 'yes']")
    if not labels or not all(isinstance(name, str) for name in labels):
        raise ValueError(f"labels: expected names, got {shown(manifest.labels)}")
    _check_segments(manifest.segments)
    check_parts(manifest)
    if len(several("temperatures", manifest.temperatures, "[1.0]")) != len(manifest.head_depths):
        raise ValueError(f"temperatures: expected one for each head, got {shown(manifest.temperatures)}")
    for temperature in manifest.temperatures:
        number("temperatures", temperature, above=0)
    if manifest.certificate is not None:
        _check_own_certificate(manifest, manifest.certificate)
    _check_templates(manifest)
    for file in (*(segment.file for segment in manifest.segments), TOKENIZER):
        if file not in manifest.files and (file != TOKENIZER or manifest.templates):
            raise ValueError(f"files: expected the SHA-256 of {as_typed(file)} among them, got none")


def _check_own_certificate(manifest: Manifest, certificate: Mapping[str, Any]) -> None:
    about = manifest.engine, manifest.bits, manifest.fingerprint, manifest.exit
    check_certificate(certificate, "certificate", *about)
    if manifest.digest is not None and manifest.digest != manifest.own_digest():
        raise ValueError(
            "certificate: expected the values that were exported with it, got edited ones (their digest differs); "
            "OnnxClassifier.changed() serves other parts, without it"
        )


def _check_segments(segments: Sequence[Segment]) -> None:
    for segment in segments:
        whole_number("segments.end", segment.end)
        true_or_false("segments.head", segment.head)
        true_or_false("segments.received", segment.received)
    ends = [0, *(segment.end for segment in segments)]
    follow = [segment.start for segment in segments] == ends[:-1] and ends == sorted({*ends})
    if not segments or not follow or not segments[-1].head:
        raise ValueError(f"segments: expected some that follow each other up to a head, got blocks {shown(ends)}")


def _check_templates(manifest: Manifest) -> None:
    """Check that special tokens and their types suit one text, and then a pair, and leave room for words."""
    for texts, template in enumerate(manifest.templates, start=1):
        ids, types, of_texts = template.special_ids, template.special_types, template.text_types
        fits = texts <= 2 and len(ids) == len(types) == texts + 1 and len(of_texts) == texts
        fits = fits and all(len(some) == len(own) for some, own in zip(ids, types, strict=True))
        for lists, limit in ((ids, manifest.vocab_size), ([*types, of_texts], max(1, manifest.num_types))):
            fits = fits and all(type(value) is int and 0 <= value < limit for values in lists for value in values)
        if not fits:
            raise ValueError(
                f"templates: expected special tokens around {texts} texts, got {shown(dataclasses.asdict(template))}"
            )
        least = sum(map(len, ids)) + texts
        if manifest.max_length < least:
            raise ValueError(
                f"max_length: expected room for the special tokens and a token of each of {texts} texts, {least} or "
                f"more, got {manifest.max_length}"
            )


def _check_file(folder: Path, name: str, digest: str) -> None:
    if Path(name).name != name:
        raise ValueError(f"{FILE}: expected names of files beside it, got {shown(name)}")
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{folder / name} is missing, though {FILE} names it; take a whole copy of the folder")
    if digest_of(folder / name) != digest:
        raise ValueError(f"{folder / name} is not the file that was exported (its SHA-256 differs); export again")
