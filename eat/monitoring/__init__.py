"""Drift monitoring of a certified model in service: is traffic still like what was certified?"""

from eat.monitoring.guard import DriftGuard

__all__ = ["DriftGuard"]
