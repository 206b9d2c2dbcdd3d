"""Search for a training's settings with Optuna: the space, the study, what a trial is worth, the report."""
