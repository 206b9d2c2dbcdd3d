"""Monitoring of a certified model in service: is traffic still like what was certified, and is the promise kept?"""

from eat.monitoring.guard import DriftGuard
from eat.monitoring.risk import SequentialRiskTest
from eat.monitoring.risk_monitor import RiskMonitor

__all__ = ["DriftGuard", "RiskMonitor", "SequentialRiskTest"]
