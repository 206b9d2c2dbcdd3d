"""Training an adaptive encoder with Lightning: objective, schedules, module, checkpoints, run folders."""
