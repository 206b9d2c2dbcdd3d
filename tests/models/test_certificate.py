"""A certificate is used where it holds, and given up where it does not."""

import copy
import json
import logging

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.fingerprint import model_fingerprint
from tests.reference.tiny import batch_of, tiny_adaptive

POINT = {"name": "confidence", "threshold": 0.6}
OPTIONS = {
    "attention": {"name": "windowed", "window": 4, "global_tokens": ["cls"]},
    "pruner": {"name": "l2_norm", "depths": [1], "ratio": 0.3},
    "exit": POINT,
}
NEVER = {"name": "never"}
WITHDRAWN = "certificate of this model no longer holds"


@pytest.fixture
def certified(tmp_path):
    """The folder of a certified model."""
    model = tiny_adaptive(**OPTIONS)
    model.config.certificate = {"exit": POINT, "bound": 0.01, "model": model_fingerprint(model)}
    model.save_pretrained(tmp_path / "certified")
    return tmp_path / "certified"


def load(folder, **options):
    return AdaptiveForSequenceClassification.from_pretrained(folder, **options)


def edit(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def has_certificate(model):
    return model.config.certificate is not None


@pytest.mark.parametrize("door", [AdaptiveForSequenceClassification, AutoModelForSequenceClassification])
def test_loading_runs_at_the_certified_point(door, certified, caplog):
    model = door.from_pretrained(certified)
    assert model.config.certificate["bound"] == 0.01
    assert model.config.exit == POINT and model.exit_criterion.threshold == 0.6
    assert not caplog.records


def test_saved_again_it_still_holds(certified, tmp_path, caplog):
    load(certified).save_pretrained(tmp_path / "again")
    assert has_certificate(load(tmp_path / "again"))
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (certified / name).read_bytes()
    assert not caplog.records


def test_without_a_certificate_nothing_changes(tmp_path):
    tiny_adaptive(**OPTIONS).save_pretrained(tmp_path)
    assert "certificate" not in json.loads((tmp_path / "config.json").read_text())
    model = load(tmp_path)
    model.set_pruner(name="none")
    model.train().eval()
    assert model.config.exit == POINT


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["pruner"].update(ratio=0.4),
        lambda config: config["attention"].update(window=6),
        lambda config: config.update(attention={"name": "full"}),
        lambda config: config["heads"].update(temperatures=[1.0, 2.0, 1.0]),
        lambda config: config.update(id2label={"0": "yes", "1": "maybe", "2": "no"}),
    ],
    ids=["pruner", "window", "attention", "temperatures", "labels"],
)
def test_a_changed_configuration_is_noticed_when_loading(change, certified, caplog):
    edit(certified, change)
    model = load(certified)
    assert WITHDRAWN in caplog.text and "full depth" in caplog.text
    assert not has_certificate(model)
    assert model.config.exit == NEVER and not model.exit_criterion.active
    assert (model(*batch_of([5, 9])[:2]).exit_depth == model.num_layers).all()


def test_changed_weights_are_noticed_when_loading(certified, caplog):
    model = tiny_adaptive(**OPTIONS)
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
    model.config.certificate = load(certified).config.certificate
    model.save_pretrained(certified)
    assert load(certified).config.exit == NEVER
    assert WITHDRAWN in caplog.text


def test_another_precision_is_another_model(certified, caplog):
    assert load(certified, dtype=torch.bfloat16).config.exit == NEVER
    assert caplog.text.count(WITHDRAWN) == 1
    model = load(certified)
    model.to("cpu")
    assert has_certificate(model)
    model.half()
    assert not has_certificate(model) and "torch.float16" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.set_pruner(name="none"),
        lambda model: model.set_pruner(**OPTIONS["pruner"] | {"ratio": 0.5}),
        lambda model: model.set_pruning_scale(0.5),
        lambda model: model.set_attention(name="full"),
        lambda model: model.train(),
        lambda model: model.load_state_dict(model.state_dict()),
        lambda model: torch.nn.ModuleList([model]).train(),
        lambda model: torch.nn.ModuleList([model]).load_state_dict(
            {f"0.{k}": v for k, v in model.state_dict().items()}
        ),
    ],
    ids=["no pruner", "ratio", "scale", "attention", "training", "weights", "training from outside", "from outside"],
)
def test_a_change_ends_it_at_once(change, certified, caplog):
    model = load(certified)
    change(model)
    assert not has_certificate(model) and model.config.exit == NEVER and not model.exit_criterion.active
    assert caplog.text.count(WITHDRAWN) == 1
    model.eval()
    model.set_exit(**POINT)  # somebody's own choice, without a guarantee
    assert model.config.exit == POINT and not has_certificate(model)


def test_weights_loaded_into_a_submodule_are_found_when_asked(certified, caplog):
    model = load(certified)
    model.encoder.load_state_dict({name: value + 1 for name, value in model.encoder.state_dict().items()})
    model.check_certificate()
    assert not has_certificate(model) and model.config.exit == NEVER
    assert caplog.text.count(WITHDRAWN) == 1


def test_setting_what_is_set_already_changes_nothing(certified, caplog):
    model = load(certified)
    model.set_exit(**POINT)
    model.set_pruner(**model.config.pruner)
    model.set_attention(**model.config.attention)
    model.set_pruning_scale(1.0)
    model.eval()
    assert has_certificate(model) and not caplog.records


def test_another_point_is_a_choice(certified, caplog):
    caplog.set_level(logging.WARNING)
    model = load(certified)
    model.set_exit(name="patience", patience=1)
    assert not has_certificate(model) and model.config.exit == {"name": "patience", "patience": 1}
    chosen = {"name": "confidence", "threshold": 0.7}
    model = load(certified, exit=chosen)
    assert not has_certificate(model) and model.config.exit == chosen and model.exit_criterion.threshold == 0.7
    edit(certified, lambda config: config.update(exit=chosen))
    model = load(certified)
    assert not has_certificate(model) and model.config.exit == chosen
    assert not caplog.records


def test_a_refused_part_leaves_it_alone(certified):
    model = load(certified)
    with pytest.raises(ValueError, match=r"pruner\.depths"):
        model.set_pruner(name="l2_norm", depths=[7], ratio=0.3)
    assert has_certificate(model) and model.config.exit == POINT


def test_a_malformed_certificate_is_refused(certified):
    edit(certified, lambda config: config["certificate"].pop("model"))
    with pytest.raises(ValueError, match=r"config\.certificate: expected a mapping with 'exit' and 'model'"):
        load(certified)


EDITED = r"config\.certificate: it was edited after it was granted"


@pytest.mark.parametrize(
    "change",
    [
        lambda certificate: certificate.update(bound=0.001),
        lambda certificate: certificate["exit"].update(threshold=0.5),
        lambda certificate: certificate.update(examples=10**6),
        lambda certificate: certificate.pop("digest"),
    ],
    ids=["bound", "threshold", "new fact", "digest"],
)
@pytest.mark.parametrize("door", [AdaptiveForSequenceClassification, AutoModelForSequenceClassification])
def test_an_edited_certificate_is_refused(door, change, certified):
    edit(certified, lambda config: change(config["certificate"]))
    with pytest.raises(ValueError, match=EDITED) as error:
        door.from_pretrained(certified)
    assert "\n" not in str(error.value) and "certify it again" in str(error.value)
    assert not has_certificate(load(certified, certificate=None)), "the weights are as they were"


def test_threshold_and_point_edited_together_are_refused(certified):
    """What runs would be the certificate's own point, and not the one that was certified."""
    edit(certified, lambda config: [place["exit"].update(threshold=0.5) for place in (config, config["certificate"])])
    with pytest.raises(ValueError, match=EDITED):
        load(certified)


def test_one_edited_in_memory_is_refused_when_it_is_asked_for_and_when_it_was_saved(certified, tmp_path):
    model = load(certified)
    model.config.certificate["bound"] = 0.001
    with pytest.raises(ValueError, match=EDITED):
        model.check_certificate()
    model.save_pretrained(tmp_path / "again")
    with pytest.raises(ValueError, match=EDITED):
        load(tmp_path / "again")


def test_another_model_s_certificate_is_withdrawn(certified, tmp_path, caplog):
    other = tiny_adaptive(seed=1, **OPTIONS)
    other.save_pretrained(tmp_path / "other")
    certificate = json.loads((certified / "config.json").read_text())["certificate"]
    edit(tmp_path / "other", lambda config: config.update(certificate=certificate))
    assert load(tmp_path / "other").config.exit == NEVER and WITHDRAWN in caplog.text


def test_a_model_certified_before_digests_loads_as_it_did(certified, tmp_path, caplog):
    edit(certified, lambda config: (config.pop("fingerprint"), config["certificate"].pop("digest")))
    model = load(certified)
    assert has_certificate(model) and model.config.exit == POINT and WITHDRAWN not in caplog.text
    model.save_pretrained(tmp_path / "again")
    edit(tmp_path / "again", lambda config: config["certificate"].update(bound=0.001))
    with pytest.raises(ValueError, match=EDITED):
        load(tmp_path / "again")


def test_a_copy_has_its_own(certified, caplog):
    model = load(certified)
    twin = copy.deepcopy(model)
    twin.set_pruner(name="none")
    assert has_certificate(model) and not has_certificate(twin)
    assert model.config.exit == POINT


def test_the_fingerprint_covers_all_but_the_operating_point():
    model = tiny_adaptive(**OPTIONS)
    before = model_fingerprint(model)
    model.set_exit(name="never")
    model.config.certificate = {"exit": POINT, "model": "x"}
    assert model_fingerprint(model) == before
    seen = {before}
    for value in model.state_dict().values():
        with torch.no_grad():
            value[(-1,) * value.dim()] += 1
            seen.add(model_fingerprint(model))
            value[(-1,) * value.dim()] -= 1

    assert len(seen) == 1 + len(model.state_dict())
