"""The check that every thresholded criterion shares."""


def checked_threshold(threshold: object, name: str = "exit.threshold") -> float:
    """Return the threshold as a float.

    Raises:
        ValueError: If it is not a number in [0, 1].
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ValueError(f"{name}: expected a number in [0, 1], got {threshold!r}")
    return float(threshold)
