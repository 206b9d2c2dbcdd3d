"""Predict what a call takes, and plan for a budget."""
