"""Evaluate a finished run: ``python evaluate.py run=runs/sst2/...``; ``--help`` lists what can be chosen.

Composes the configuration and hands it over; what is measured is the saved model with its saved configuration.
"""

from typing import Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from eat.evaluation import Report, evaluate_run


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> Report:
    """Evaluate, and return what a multirun combines."""
    options = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    data = options.pop("data")
    return evaluate_run(options.pop("run"), data_root=data["root"], **options)


if __name__ == "__main__":
    main()
