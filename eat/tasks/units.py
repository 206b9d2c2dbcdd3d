"""Leakage-free draws: group rows that belong together into units, and draw whole units by a seed."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from datasets import Dataset


@dataclass(frozen=True)
class Unit:
    """Unit of a draw: rows that enter a split together or not at all."""

    key: str  # what the draw is decided by: text, so that neither row order nor a library's generator matters
    rows: tuple[int, ...]  # row numbers
    stratum: Hashable  # the class of the first row; None for regression


def normalise_text(text: str) -> str:
    """Return the text in lower case with runs of white space collapsed: what counts as the same text."""
    return " ".join(text.lower().split())


def row_texts(dataset: Dataset) -> list[tuple[str, ...]]:
    """Return the normalised text, or both normalised texts, of every row."""
    columns = [name for name in ("text", "text_pair") if name in dataset.column_names]
    return list(zip(*([normalise_text(text) for text in dataset[name][:]] for name in columns), strict=True))


def row_strata(dataset: Dataset) -> list[Hashable]:
    """Return the class of every row; one stratum for all where labels are scores.

    Of a row with several labels it is the rarest: draws by it keep the rare labels' proportions, as iterative
    stratification does (Sechidis et al. 2011), in one pass.
    """
    labels = dataset["label"][:]
    if labels and isinstance(labels[0], list):
        times = [sum(column) for column in zip(*labels, strict=True)]
        return [min((i for i, has in enumerate(row) if has), key=lambda i: times[i], default=None) for row in labels]
    return [None] * len(labels) if any(isinstance(label, float) for label in labels[:1]) else list(labels)


def pair_key(texts: Sequence[str]) -> str:
    """Return one key for a text, or for a pair of texts in either order."""
    return "\x1f".join(sorted(texts))


def group_units(keys: Sequence[Iterable[str]], strata: Sequence[Hashable]) -> list[Unit]:
    """Join rows that share a key, directly or through other rows, into units, in the order of their first rows."""
    parent = list(range(len(keys)))

    def find(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first_row: dict[str, int] = {}
    smallest: list[str] = []
    for row, row_keys in enumerate(keys):
        smallest.append(min(row_keys))
        for key in row_keys:
            one, other = sorted((find(row), find(first_row.setdefault(key, row))))
            parent[other] = one
    members: dict[int, list[int]] = defaultdict(list)
    for row in range(len(keys)):
        members[find(row)].append(row)
    return [Unit(min(smallest[row] for row in rows), tuple(rows), strata[rows[0]]) for rows in members.values()]


def digest(salt: str, *keys: str) -> bytes:
    """Return what draws are ordered by: a hash of what the draw is for and of texts."""
    return blake2b("\x1e".join((salt, *keys)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def draw_units(units: Sequence[Unit], num_rows: int, *, salt: str) -> list[Unit]:
    """Draw units that hold ``num_rows`` rows together, each stratum in its proportion, if need be fewer.

    The order of the draw is that of a hash of (salt, key). Every stratum keeps at least one unit, so that no class
    leaves what is trained on; a unit larger than the room that is left is passed over.
    ``salt`` names the draw: seed and purpose.
    """
    order = sorted(units, key=lambda unit: (digest(salt, unit.key), unit.rows))
    rows_of: dict[Hashable, int] = defaultdict(int)
    left: dict[Hashable, int] = defaultdict(int)
    for unit in order:
        rows_of[unit.stratum] += len(unit.rows)
        left[unit.stratum] += 1
    room = _quotas(rows_of, num_rows)
    drawn: dict[Unit, None] = {}
    for unit in order:
        if len(unit.rows) <= room[unit.stratum] and left[unit.stratum] > 1:
            drawn[unit] = None
            room[unit.stratum] -= len(unit.rows)
            left[unit.stratum] -= 1
    missing = num_rows - sum(len(unit.rows) for unit in drawn)
    for unit in order:  # what units too large for their stratum's quota left open
        if unit not in drawn and len(unit.rows) <= missing and left[unit.stratum] > 1:
            drawn[unit] = None
            missing -= len(unit.rows)
            left[unit.stratum] -= 1
    return list(drawn)


def _quotas(rows_of: dict[Hashable, int], num_rows: int) -> dict[Hashable, int]:
    """Share rows out in proportion, the odd ones to the largest remainders."""
    total = sum(rows_of.values())
    exact = {stratum: num_rows * rows / total for stratum, rows in rows_of.items()}
    quotas = {stratum: int(share) for stratum, share in exact.items()}
    by_remainder = sorted(exact, key=lambda stratum: (quotas[stratum] - exact[stratum], str(stratum)))
    for stratum in by_remainder[: num_rows - sum(quotas.values())]:
        quotas[stratum] += 1
    return quotas
