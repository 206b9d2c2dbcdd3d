"""Early heads train on cached features; nothing else of the classifier changes, also after a kill."""

import csv
import dataclasses

import pytest
import torch
from lightning import Callback
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from eat.data import TextDataModule
from eat.training.checkpoints import LAST, RunCheckpoints, load_best
from eat.training.heads import FeatureDataModule, HeadsModule
from eat.training.loggers import MetricsCsv
from eat.training.schedule import PruningSchedule
from eat.training.trainer import build_trainer
from tests.reference.tiny import tiny_adaptive
from tests.training.made import make_adamw, make_objective, make_scheduler
from tests.training.test_features import make_split


class Texts(TextDataModule):
    """What the feature data module needs of a text data module, without text."""

    batch_size, eval_batch_size, seed, _position, trainer = 4, 8, 0, (0, 0), None

    def __init__(self):
        self.tokenized = {"train": first_token_decides(make_split()), "threshold": first_token_decides(make_split(1))}


def first_token_decides(split):
    return dataclasses.replace(split, labels=split.input_ids[split.offsets[:-1]] % 3)


class KilledError(Exception):
    pass


class KillAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise KilledError


def make_module(objective=None, seed=0):
    torch.manual_seed(0)  # the tiny classifier draws from it: always the same weights
    return HeadsModule(
        tiny_adaptive(head_pooling="mean", final_head_pooling="cls"),
        objective or make_objective("joint", self_weight=0.5),
        optimizer=make_adamw(1e-2),
        scheduler=make_scheduler,
        schedule=PruningSchedule(0.0, 0.0),
        metrics=MetricCollection({"accuracy": MulticlassAccuracy(3, average="micro")}),
        best="accuracy",
        seed=seed,
    )


def fit(folder, *callbacks, max_epochs=4, **options):
    module = make_module(**options)
    checkpoints = RunCheckpoints(every_n_steps=2)
    trainer = build_trainer(
        accelerator="cpu",
        precision="32-true",
        threads=None,
        max_epochs=max_epochs,
        logger=[MetricsCsv(folder)],
        callbacks=[checkpoints, *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        gradient_clip_val=1.0,
        default_root_dir=folder,
    )
    data = FeatureDataModule(Texts(), module.model, folder / "checkpoints")
    last = folder / "checkpoints" / LAST
    trainer.fit(module, data, ckpt_path=last if last.exists() else None, weights_only=True)
    return module, checkpoints, data


def split_weights(module):
    """The weights of the early heads, and all others."""
    weights = {name: tensor.clone() for name, tensor in module.model.state_dict().items()}
    early = {name for name in weights if name.startswith(("encoder.heads.1.", "encoder.heads.2."))}
    return {name: weights[name] for name in early}, {name: weights[name] for name in weights.keys() - early}


def test_only_early_heads_learn_and_the_best_by_their_mean_is_kept(tmp_path):
    before_early, before_rest = split_weights(make_module())
    module, checkpoints, data = fit(tmp_path, max_epochs=8)
    early, rest = split_weights(module)
    torch.testing.assert_close(rest, before_rest, rtol=0, atol=0)
    assert all(not torch.equal(early[name], before_early[name]) for name in early)
    with (tmp_path / "metrics.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"])
    validated = [row for row in rows if row["val/accuracy"]]
    for row in validated:
        mean = (float(row["val/accuracy_depth_1"]) + float(row["val/accuracy_depth_2"])) / 2
        assert float(row["val/accuracy_early"]) == pytest.approx(mean, abs=1e-6)
    assert checkpoints.best_score == pytest.approx(max(float(row["val/accuracy_early"]) for row in validated))
    assert len({row["val/accuracy"] for row in validated}) == 1, "the final head does not change"
    saved = torch.load(tmp_path / "checkpoints" / LAST, weights_only=True)["state_dict"]
    assert {name.removeprefix("model.") for name in saved} == early.keys()
    load_best(module.trainer)
    best, _ = split_weights(module)
    kept = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close({f"model.{name}": tensor for name, tensor in best.items()}, kept, rtol=0, atol=0)
    data.discard()
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_what_validation_measures_is_what_the_live_model_answers(tmp_path):
    module, _, data = fit(tmp_path)
    split = Texts().tokenized["threshold"]
    with torch.no_grad():
        live = module.model.eval()(
            torch.from_numpy(split.input_ids).long(), lengths=torch.from_numpy(split.lengths), trace=True
        )
        cached = module._forward(data.val_dataloader().collate_fn(range(len(split))), module.model.head_depths)
    torch.testing.assert_close(cached.all_logits, live.all_logits, rtol=1e-5, atol=1e-5)
    assert torch.equal(cached.tokens_kept, live.tokens_kept)
    assert torch.equal(cached.exit_depth, live.exit_depth)


def test_a_training_killed_again_and_again_ends_as_one_left_alone_without_the_encoder(tmp_path, monkeypatch):
    alone, best, _ = fit(tmp_path / "alone")
    for step in (1, 5, 9, 20):
        with pytest.raises(KilledError):
            fit(tmp_path / "killed", KillAt(step))
        monkeypatch.setattr("eat.training.features._compute", lambda *_: pytest.fail("features were computed again"))
    resumed, best_resumed, _ = fit(tmp_path / "killed")
    torch.testing.assert_close(split_weights(resumed), split_weights(alone), rtol=0, atol=0)
    assert best_resumed.state_dict() == best.state_dict()
    assert (tmp_path / "killed" / "metrics.csv").read_text() == (tmp_path / "alone" / "metrics.csv").read_text()


def test_a_teacher_is_refused():
    with pytest.raises(ValueError, match=r"objective.teacher: expected null with retrofit"):
        make_module(make_objective("joint", teacher=lambda batch: torch.zeros(1)))


@pytest.mark.parametrize("objective", [make_objective("alternating"), make_objective("two_stage")])
def test_an_objective_with_steps_for_the_final_head_alone_is_refused(objective):
    with pytest.raises(ValueError, match=r"objective: expected one whose every step trains early heads with retrofit"):
        make_module(objective)
