"""The standard suite behind `make benchmark`: fixed model shapes and inputs, random weights, no training."""

from eat.suite.run import run_suite
from eat.suite.settings import SuiteSettings

__all__ = ["SuiteSettings", "run_suite"]
