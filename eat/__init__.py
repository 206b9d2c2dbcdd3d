"""Adaptive text encoders in which tokens and sequences really leave."""

__version__ = "0.1.0"
