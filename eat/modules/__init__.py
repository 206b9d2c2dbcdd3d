"""Layers: embeddings, one encoder block, exit heads."""
