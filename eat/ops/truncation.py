"""Truncate a text, or a pair, to the room that there is; needs no torch, for an exported model truncates as well."""

from collections.abc import Sequence


def kept_lengths(lengths: Sequence[int], room: int) -> list[int]:
    """Truncate ``longest_first``: return how many tokens stay of one text, or of each of two.

    >>> kept_lengths([3, 9], room=7)
    [3, 4]
    """
    if sum(lengths) <= room:
        return list(lengths)
    if len(lengths) == 1:
        return [room]
    first, second = lengths
    shorter = min(first, second, room // 2)
    return [room - shorter, shorter] if first > second else [shorter, room - shorter]
