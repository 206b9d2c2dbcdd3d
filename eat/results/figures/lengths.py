"""Examples in bins of their length."""

import numpy as np
from jaxtyping import Int


def length_bins(lengths: Int[np.ndarray, " examples"], most: int = 12) -> list[Int[np.ndarray, " members"]]:
    """Return the examples of each bin, about equally many; those of one length are in one bin.

    Args:
        lengths: Tokens that came in with each example.
        most: At most so many bins.
    """
    inner = np.linspace(0, 1, most + 1)[1:-1]
    edges = np.unique(np.quantile(lengths, inner, method="higher"))
    place = np.searchsorted(edges, lengths, side="left")
    return [np.flatnonzero(place == index) for index in np.unique(place)]
