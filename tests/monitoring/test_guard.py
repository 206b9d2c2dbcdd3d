"""The guard around a model: it answers as the model does, notices other traffic, falls back, and comes back."""

import copy
import dataclasses
import json
import math
import threading

import pytest
import torch

from eat.models.stream import Prediction
from eat.monitoring import DriftGuard
from eat.monitoring.batches import rows_alike
from eat.packed import AdaptiveOutput
from tests.made.guarded import NEVER, PRUNER, answer, certificate_for, drifted, equal, fire, make_model, padded
from tests.made.models import make_batches


def test_it_answers_bit_for_bit_as_the_model(model, batch):
    guard = DriftGuard(model)
    output, expected = guard(*padded(batch)), answer(model, batch)
    assert torch.equal(output.logits, expected.logits)
    equal(output, expected)
    packed = guard(batch["input_ids"], lengths=batch["lengths"])
    equal(packed, expected)
    assert 1 < expected.exit_depth.double().mean() < 4, "some leave early"
    assert guard.report()["default"]["test"]["examples"] == 32


def test_like_traffic_does_not_fire_and_other_traffic_does(model, caplog):
    guard = DriftGuard(model, false_alarm=0.01)
    for batch in make_batches(400, 40, seed=21):
        guard(*padded(batch))
    assert not guard.fired and guard.report()["default"]["alarms"] == 0
    fire(guard)
    report = guard.report()["default"]
    assert report["fired"] and report["alarms"] == 1
    assert report["test"]["martingale"] >= report["test"]["threshold"] == 100
    assert max(report["test"]["martingales"], key=report["test"]["martingales"].get) == "length"
    assert caplog.text.count("no longer looks like the certification split") == 1


def test_after_it_fired_answers_are_at_full_depth_and_the_model_stays_as_it_was(model, batch):
    certificate, expected = copy.deepcopy(model.config.certificate), answer(model, batch)
    guard = DriftGuard(model)
    fire(guard)
    tested = guard.report()["default"]["test"]
    equal(guard(*padded(batch)), answer(model, batch, NEVER))
    assert model.config.certificate == certificate
    equal(answer(model, batch), expected)
    report = guard.report()["default"]
    assert report["test"] == tested, "full depth says nothing of the certified point"
    assert report["reasons"]["fallback at depth 4"] >= 16
    guard.reset()
    assert guard.fired == ()
    equal(guard(*padded(batch)), expected)
    assert guard.report()["default"]["alarms"] == 1
    assert guard.report()["default"]["test"]["examples"] == 16


def test_it_falls_back_to_what_the_certificate_is_measured_against(model, batch):
    """A variant certified against another pruning of its weights: that one's full depth is the reference."""
    gentle = PRUNER | {"depths": [2], "ratio": 0.1}
    variant = certificate_for(model, fallback={"pruner": gentle})
    unpruned = certificate_for(model, fallback={"pruner": {"name": "none"}})
    own = model.config.certificate
    model.config.certificate = variant
    guard = DriftGuard(model, sources={"web": unpruned, "mobile": own})
    equal(guard(*padded(batch)), answer(model, batch))
    for source, pruner in (("default", gentle), ("web", {"name": "none"}), ("mobile", PRUNER)):
        fire(guard, source)
        equal(guard(*padded(batch), source=source), answer(make_model(pruner=pruner), batch, NEVER))
    assert model.config.pruner == PRUNER and model.config.certificate is variant
    model.encoder.embeddings.words.weight = torch.nn.Parameter(model.encoder.embeddings.words.weight.clone())
    with pytest.raises(RuntimeError, match=r"weights were moved"):
        guard(*padded(batch))


def test_a_certificate_against_another_model_has_nothing_to_fall_back_to(model):
    against = model.config.certificate | {"fallback": {"pruner": None}}
    message = r"certificate.fallback: .* reference is another model; certify the model against its own full depth"
    with pytest.raises(ValueError, match=r"sources\['web'\]: " + message):
        DriftGuard(model, sources={"web": against})
    model.config.certificate = against
    with pytest.raises(ValueError, match=message):
        DriftGuard(model)


def test_a_stream_is_answered_as_the_models(model):
    guard = DriftGuard(model)
    examples = [
        {"input_ids": ids}
        for batch in make_batches(60, 20, seed=4)
        for ids in batch["input_ids"].split(batch["lengths"].tolist())
    ]
    ours = list(guard.predict_stream(examples, 8))
    for one, other in zip(ours, model.predict_stream(examples, 8), strict=True):
        assert isinstance(one, Prediction) and torch.equal(one.logits, other.logits)
        assert (one.exit_depth, one.tokens_kept) == (other.exit_depth, other.tokens_kept)
    assert guard.report()["default"]["test"]["examples"] == 60
    assert not guard.fired


def test_a_stream_goes_to_full_depth_from_the_alarm_on_and_comes_back(model, batch):
    guard = DriftGuard(model)
    examples = [{"input_ids": ids} for ids in drifted(300)["input_ids"].split(30)]
    twin = copy.deepcopy(model)
    early = list(twin.predict_stream(examples))
    twin.set_exit(**NEVER)
    full = list(twin.predict_stream(examples))
    alarms = []
    stream = guard.predict_stream(iter(examples), 8)
    for i in range(len(examples)):
        expected = full[i] if guard.fired else early[i]
        prediction, before = next(stream), guard.fired
        torch.testing.assert_close(prediction.logits, expected.logits, rtol=1e-9, atol=1e-9)
        assert prediction.exit_depth == expected.exit_depth
        if len(alarms) < guard.report()["default"]["alarms"]:
            alarms.append(i)
        if before and i == alarms[-1] + 50:
            guard.reset()
    assert next(stream, None) is None
    assert len(alarms) > 1 and alarms[0] < 100, "it fires, comes back when it is reset, and fires again"
    assert any(one.exit_depth < model.num_layers for one in early[alarms[0] + 1 : alarms[0] + 50])


def test_sources_have_their_own_points_profiles_and_alarms(model, batch, tmp_path):
    other = copy.deepcopy(model)
    mobile = {"name": "confidence", "threshold": 0.9}
    other.set_exit(**mobile)
    other.config.certificate = certificate_for(other)
    other.save_pretrained(tmp_path)
    for given in (tmp_path, str(tmp_path), other.config.certificate):
        guard = DriftGuard(model, sources={"mobile": given, "web": NEVER})
    names = ["default", "mobile", "web", "mobile"] * 4
    output = guard(*padded(batch), source=names)
    for name, exit in (("default", None), ("mobile", mobile), ("web", NEVER)):
        rows = torch.tensor([n == name for n in names])
        equal(output, answer(model, batch, exit), rows)
    report = guard.report()
    assert [report[name]["watched"] for name in ("default", "mobile", "web")] == [True, True, False]
    assert report["mobile"]["test"]["examples"] == 8 and report["web"]["test"] is None
    assert report["default"]["test"]["threshold"] == report["mobile"]["test"]["threshold"] == 200, "two share the rate"
    assert report["web"]["reasons"] == {"last_head at depth 4": 4}
    fire(guard, "mobile")
    assert guard.fired == ("mobile",)
    output = guard(*padded(batch), source=names)
    equal(output, answer(model, batch), torch.tensor([n == "default" for n in names]))
    equal(output, answer(model, batch, NEVER), torch.tensor([n != "default" for n in names]))
    guard.reset("mobile")
    assert not guard.fired


def test_suspicious_rows_get_full_depth_and_keep_their_tokens(model, batch):
    guard = DriftGuard(model, min_retention=0.9)
    suspicious = torch.arange(16) % 3 == 0
    output = guard(*padded(batch), suspicious=suspicious)
    equal(output, answer(model, batch), ~suspicious)
    for form in (suspicious[:, None], suspicious.long(), suspicious.numpy()[:, None], suspicious.tolist()):
        assert rows_alike(16, "default", form) == rows_alike(16, "default", suspicious)
    for form in (torch.full((16, 2), False), torch.full((16,), 0.5), "no", 1):
        with pytest.raises(ValueError, match="suspicious: expected one True or False per row, got "):
            rows_alike(16, "default", form)
    careful = make_model(exit=NEVER, pruner=model.config.pruner | {"min_retention": 0.9})
    equal(output, answer(careful, batch), suspicious)
    assert (output.retention[suspicious] >= 0.9).all() and (output.retention[~suspicious] < 0.8).any()
    packed = guard(batch["input_ids"], lengths=batch["lengths"], suspicious=suspicious.tolist())
    equal(packed, output)
    report = guard.report()["default"]
    assert report["reasons"]["suspicious at depth 4"] == 12 and report["test"]["examples"] == 20
    equal(
        DriftGuard(model)(*padded(batch), suspicious=[True] * 16),
        answer(make_model(pruner={"name": "none"}), batch, NEVER),
    )


def test_a_model_without_pruning_has_nothing_to_keep(batch):
    model = make_model(pruner={"name": "none"})
    model.config.certificate = certificate_for(model)
    output = DriftGuard(model)(*padded(batch), suspicious=[True] * 16)
    equal(output, answer(model, batch, NEVER))


def test_answers_of_the_callers_own_calls_are_observed(model):
    guard = DriftGuard(model)
    assert not guard.observe(answer(model, make_batches(40, 40, seed=2)[0]))
    while not guard.observe(answer(model, drifted())):
        assert guard.report()["default"]["test"]["examples"] < 500
    assert guard.fired == ("default",)


def test_nan_is_counted_and_crashes_nothing(model):
    guard = DriftGuard(model)
    broken = answer(model, make_batches(40, 40, seed=2)[0])
    broken = dataclasses.replace(broken, logits=broken.logits.clone())
    broken.logits[3] = math.nan
    guard.observe(broken)
    depth = int(broken.exit_depth[3])
    assert guard.report()["default"]["reasons"][f"broken at depth {depth}"] == 1
    broken.logits[:] = math.inf
    while not guard.observe(broken):
        assert guard.report()["default"]["test"]["examples"] < 500
    json.dumps(guard.report(), allow_nan=False)


def test_percentiles_are_for_people(model, batch):
    guard = DriftGuard(model, window=10)
    assert guard.report()["default"]["percentiles"]["depth"]["recent"] == {}
    guard(*padded(drifted(12)))
    guard(*padded(batch))
    percentiles = guard.report()["default"]["percentiles"]
    lengths = batch["lengths"][-10:].sort().values
    assert lengths[4] <= percentiles["length"]["recent"]["50"] < lengths[4] * 2**0.25
    depths = answer(model, batch).exit_depth[-10:].sort().values
    assert percentiles["depth"]["recent"]["50"] == depths[4]
    assert 10 < percentiles["length"]["certified"]["50"] < 17 and percentiles["retention"]["certified"]["95"] <= 1


def test_threads_lose_no_answer(model):
    guard = DriftGuard(model)
    batches = make_batches(80, 10, seed=6)
    threads = [threading.Thread(target=lambda b=batch: guard(*padded(b))) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = guard.report()["default"]
    assert report["test"]["examples"] == sum(report["reasons"].values()) == 80


@pytest.mark.parametrize("false_alarm", [0, 1, -0.1, math.nan, True, "0.01"])
def test_false_alarm_out_of_range(model, false_alarm):
    with pytest.raises(ValueError, match=r"false_alarm: expected a number in \(0, 1\), got"):
        DriftGuard.__init__.__wrapped__(object.__new__(DriftGuard), model, false_alarm=false_alarm)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_retention": 1.5}, r"min_retention: expected a number in \[0, 1\], got 1.5"),
        ({"window": 0}, r"window: expected an integer of 1 or more, got 0"),
        ({"sources": {"default": NEVER}}, r"sources: expected names .* got 'default'"),
        ({"sources": {"": NEVER}}, r"sources: expected names .* got ''"),
        ({"sources": {"web": {}}}, r"sources\['web'\]: expected an exit"),
        ({"sources": {"web": "/nowhere"}}, r"sources\['web'\]: expected a folder .* without config.json"),
        ({"sources": {"web": {"name": "sure"}}}, r"exit.name: expected one of .* got 'sure'"),
        ({"sources": {"web": {"exit": NEVER, "model": "abc"}}}, r"sources\['web'\]: .* got one about abc"),
    ],
)
def test_bad_options(model, options, message):
    with pytest.raises(ValueError, match=message):
        DriftGuard(model, **options)


def test_a_source_whose_certificate_was_edited(model, tmp_path):
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    DriftGuard(model, sources={"web": tmp_path, "mobile": config["certificate"]})
    config["certificate"]["exit"]["threshold"] = 0.1
    path.write_text(json.dumps(config))
    message = r"sources\['web'\]: .*edited after it was granted"
    for given in (tmp_path, config["certificate"]):
        with pytest.raises(ValueError, match=message):
            DriftGuard(model, sources={"web": given})
    del config["certificate"]["digest"]
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        DriftGuard(model, sources={"web": tmp_path})


def test_a_source_certified_by_an_older_version(model):
    old = {"exit": NEVER, "model": model.config.certificate["model"]}
    with pytest.raises(ValueError, match=r"sources\['web'\]: certificate.profile: .* certify the model again"):
        DriftGuard(model, sources={"web": old})


def test_a_model_that_cannot_be_guarded(model, tmp_path):
    with pytest.raises(ValueError, match=r"model: expected a certified one, got none"):
        DriftGuard(make_model())
    make_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"sources\['web'\]: expected a certified model, got .* without a certificate"):
        DriftGuard(model, sources={"web": tmp_path})
    with pytest.raises(ValueError, match=r"model: expected a classifier, got a regression model"):
        DriftGuard(make_model(num_labels=1, problem_type="regression", exit=NEVER))
    older = copy.deepcopy(model)
    older.config.certificate = {k: v for k, v in model.config.certificate.items() if k != "profile"}
    with pytest.raises(ValueError, match=r"certificate.profile: .* got none.* certify the model again"):
        DriftGuard(older)
    with pytest.raises(RuntimeError, match=r"expected the model in evaluation mode"):
        DriftGuard(copy.deepcopy(model).train())
    spoilt = copy.deepcopy(model)
    with torch.no_grad():
        spoilt.encoder.embeddings.words.weight[5] += 1
    with pytest.raises(ValueError, match=r"model: expected a certified one"):
        DriftGuard(spoilt)


def test_bad_calls(model, batch):
    guard, (ids, mask) = DriftGuard(model), padded(batch)
    with pytest.raises(ValueError, match=r"source: expected one of \['default'\], got 'mobile'"):
        guard(ids, mask, source="mobile")
    with pytest.raises(ValueError, match=r"source: expected one of .* got 'mobile'"):
        next(guard.predict_stream([], source="mobile"))
    with pytest.raises(ValueError, match=r"source: expected one value for each of the 16 rows, got 2"):
        guard(ids, mask, source=["default", "default"])
    with pytest.raises(ValueError, match=r"suspicious: expected one value for each of the 16 rows, got 1"):
        guard(ids, mask, suspicious=[True])
    with pytest.raises(ValueError, match=r"output: expected logits, exit_depth and tokens_kept"):
        guard.observe(AdaptiveOutput(logits=torch.zeros(1, 2)))
    with pytest.raises(ValueError, match=r"input_ids: expected \(batch, width\)"):
        guard(ids[0])
    with pytest.raises(ValueError, match=r"source: expected one of"):
        guard.reset("mobile")
    assert guard.report()["default"]["reasons"] == {}


def test_a_model_that_changed_needs_a_new_guard(model, batch):
    guard = DriftGuard(model)
    model.set_exit(name="confidence", threshold=0.99)
    with pytest.raises(RuntimeError, match=r"no longer certified as when this was made"):
        guard(*padded(batch))
