"""Train an adaptive encoder with Lightning: backbones, objectives, schedules, module, checkpoints."""
