"""Data pipeline from text to packed batches: held-out splits, tokenising with a cache, the order of training."""

from eat.data.module import TextDataModule

__all__ = ["TextDataModule"]
