"""A teacher that an experiment names: which run it is, and what is said where it is not trained."""

import pytest
from hydra import initialize_config_dir

from eat.cli.teacher import find_teacher_run
from eat.runs.folder import choose_run
from tests.cli.test_conf import CONF, composed, plain

TYPED = [
    "experiment=ablation/distilled",
    "task=cola",
    "seed=3",
    "trainer=cpu",
    "backbone.num_layers=2",
    "pruner.ratio=0.5",
]
SHARED = ["task=cola", "seed=3", "trainer=cpu"]


def find(teacher, typed):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return find_teacher_run(teacher, typed)


def test_it_is_the_run_of_the_experiment_with_what_student_and_teacher_share(tmp_path):
    place = f"paths.runs={tmp_path}"
    run = choose_run(plain(composed("experiment=ablation/dense", place, *SHARED)))
    with pytest.raises(ValueError, match=r"is not trained yet; train it first: .* experiment=ablation/dense task=cola"):
        find("experiment:ablation/dense", [*TYPED, place])
    run.model.mkdir(parents=True)
    (run.model / "config.json").write_text("{}")
    assert find("experiment:ablation/dense", [*TYPED, place]) == str(run.path)


def test_an_unknown_experiment_is_named():
    with pytest.raises(ValueError, match=r"objective.teacher: expected an experiment of conf/, got 'experiment:dens'"):
        find("experiment:dens", TYPED)
