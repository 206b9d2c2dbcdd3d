"""Sufficient rules in a model: who exits, when the rules go, and what refuses them."""

import dataclasses
import json
import logging
from itertools import pairwise

import numpy as np
import pytest
import torch

from eat.deployment import export_onnx
from eat.explanation.explained import explain
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.fingerprint import model_fingerprint
from eat.models.inputs import Inputs
from eat.models.rules import SufficientRule
from eat.models.sharing import all_off
from tests.data.tokenizers import bert_like
from tests.reference.tiny import batch_of, pack, tiny_adaptive

PRUNER = {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}
LENGTHS = [3, 17, 5, 9, 12, 4, 20, 7]
PLACES = [(0, "embeddings", "mean"), (1, "attention", "cls"), (1, "block", "mean"), (2, "attention", "mean")]


def rule(depth=1, place="block", pooling="mean", label=0, *, dim=16, threshold=0.0, seed=0, **more):
    weight = np.random.default_rng([seed, depth, len(place)]).normal(size=dim)
    bounds = {"bound": 0.01, "exit_bound": 0.1} | more
    return SufficientRule(depth, place, pooling, label, tuple(weight.tolist()), threshold, **bounds)


def model_with(rules=(), **options):
    model = tiny_adaptive(**({"num_layers": 4, "pruner": PRUNER} | options)).eval()
    model.set_rules(rules)
    return model


def rules_of(model):
    """Rules at four taps, each of which fires on two of the eight texts."""
    made = [rule(*place, index % 2, dim=model.backbone.dim) for index, place in enumerate(PLACES)]
    taps = [rows_at_taps(model, ids, types) for ids, types in singles(batch(model))]
    return [
        dataclasses.replace(one, threshold=float(np.quantile([score(one, at) for at in taps], 0.8))) for one in made
    ]


@torch.inference_mode()
def rows_at_taps(model, ids, types):
    """The slow way: whole blocks on one text, its rows behind the attention seen by a hook."""
    seen = {}
    state = model.embedded(Inputs(ids, None, types, torch.tensor([len(ids)])))
    seen[0, "embeddings"] = state.rows
    for depth, block in enumerate(model.encoder.blocks, start=1):
        if depth - 1 in model.pruner.depths:
            state = state.keep_tokens(model.pruner(state, depth - 1))
        hook = block.mixed_norm.register_forward_hook(
            lambda _, __, rows, depth=depth: seen.__setitem__((depth, "attention"), rows)
        )
        state = block(state, received=model.pruner.needs(depth))
        hook.remove()
        seen[depth, "block"] = state.rows
    return seen


def score(one, taps):
    rows = taps[one.depth, one.place].double().numpy()
    return (rows[0] if one.pooling == "cls" else rows.mean(0)) @ np.array(one.weight)


def expected(model, ids, types):
    """Return the answer and depth of the first rule that fires, in the order of the encoder; None where none does."""
    taps = rows_at_taps(model, ids, types)
    for one in sorted(model.rules, key=lambda one: (one.tap, one.label)):
        if score(one, taps) > one.threshold:
            return one.label, one.depth
    return None


def batch(model):
    return pack(*batch_of(LENGTHS))


def singles(packed):
    starts = np.cumsum([0, *packed["lengths"]])
    for start, end in pairwise(starts):
        types = packed.get("token_type_ids")
        yield packed["input_ids"][start:end], None if types is None else types[start:end]


@pytest.mark.parametrize("pruner", [PRUNER, {"name": "attention_received", "depths": [1], "ratio": 0.4}])
def test_the_first_rule_that_fires_answers(pruner):
    model = model_with(pruner=pruner)
    before = model(**batch(model))
    model.set_rules(rules_of(model))
    with torch.inference_mode():
        output = model(**batch(model))
    fired = []
    for index, (ids, types) in enumerate(singles(batch(model))):
        found = expected(model, ids, types)
        if found is None:
            torch.testing.assert_close(output.logits[index], before.logits[index], rtol=0, atol=1e-5)
            assert output.exit_depth[index] == 4
            assert output.tokens_kept[index].tolist() == before.tokens_kept[index].tolist()
            continue
        label, depth = found
        fired.append(depth)
        probabilities = output.logits[index].softmax(0)
        assert probabilities[label].item() == pytest.approx(0.9, abs=1e-6) and probabilities.sum() == pytest.approx(1)
        assert output.exit_depth[index] == depth
        kept = before.tokens_kept[index].tolist()
        worked = max(1, depth)
        assert output.tokens_kept[index].tolist() == kept[:worked] + [0] * (5 - worked)
    assert set(fired) == {0, 1, 2} and len(fired) < len(LENGTHS)
    work = model.flops(output.tokens_kept, output.exit_depth)
    assert (
        work[output.exit_depth < 4] < model.flops(before.tokens_kept, before.exit_depth)[output.exit_depth < 4]
    ).all()
    assert ((output.retention > 0) & (output.retention <= 1)).all()


def test_an_answer_does_not_depend_on_its_batch():
    model = model_with()
    model.set_rules(rules_of(model))
    with torch.inference_mode():
        together = model(**batch(model))
        for index, (ids, types) in enumerate(singles(batch(model))):
            alone = model(ids[None], token_type_ids=None if types is None else types[None])
            torch.testing.assert_close(alone.logits[0], together.logits[index], rtol=0, atol=1e-5)
            assert alone.exit_depth[0] == together.exit_depth[index]


def test_gradients_may_be_wanted_after_inference():
    model = model_with()
    model.set_rules(rules_of(model))
    with torch.inference_mode():
        before = model(**batch(model)).logits
    after = model(**batch(model)).logits
    assert torch.equal(after.detach(), before)
    after.sum().backward()
    assert model.encoder.blocks[3].inner.weight.grad.count_nonzero()


def test_all_may_exit_by_a_rule():
    model = model_with([rule(0, "embeddings", threshold=-1e6, dim=tiny_adaptive().backbone.dim)])
    output = model(**batch(model))
    assert output.exit_depth.tolist() == [0] * 8 and output.tokens_kept[:, 0].tolist() == LENGTHS
    assert not output.tokens_kept[:, 1:].any()


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "albert"])
@pytest.mark.parametrize("name", ["l2_norm", "attention_received"])
def test_two_halves_are_the_whole_block(model_type, name):
    model = model_with(model_type=model_type, pruner={"name": name, "depths": [1], "ratio": 0.3}).double()
    packed = pack(*batch_of(LENGTHS))
    whole = model(**packed).logits
    with torch.inference_mode():
        state = model.embedded(Inputs(packed["input_ids"], None, packed.get("token_type_ids"), packed["lengths"]))
        last = model.encoder.walk(state, lambda tap, state: state, model.num_layers)
        logits = model.encoder.heads(model.encoder.read_by_heads(last), model.num_layers)
    torch.testing.assert_close(logits, whole, rtol=0, atol=1e-10)


def test_traces_and_training_have_no_rules():
    model = model_with()
    traced = model(**batch(model), trace=True)
    model.set_rules(rules_of(model))
    assert torch.equal(model(**batch(model), trace=True).all_logits, traced.all_logits)
    assert torch.equal(all_off(model)(**batch(model)).exit_depth, torch.full((8,), 4))
    model.train()
    assert model(**batch(model)).all_logits.shape[:2] == (8, 4) and model.rules == ()


def test_rules_are_saved_and_name_no_fingerprint_anew(tmp_path):
    model = model_with()
    model.save_pretrained(tmp_path / "without")
    assert "rules" not in json.loads((tmp_path / "without" / "config.json").read_text())
    named = model_fingerprint(model)
    model.set_rules(rules_of(model))
    assert model_fingerprint(model) == named
    model.save_pretrained(tmp_path / "model")
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path / "model")
    assert loaded.rules == model.rules
    assert torch.equal(loaded(**batch(model)).logits, model(**batch(model)).logits)
    without = AdaptiveForSequenceClassification.from_pretrained(tmp_path / "model", rules=None)
    assert without.rules == ()


def edited(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["rules"]["rules"][0].update(threshold=-9.0), "config.rules were edited"),
        (lambda c: c["rules"]["rules"][0].update(name="x"), "rules: expected rules with"),
        (lambda c: c["rules"]["rules"][0].update(weight=[1.0]), "rules.weight: expected 16 numbers"),
        (lambda c: c["rules"]["rules"][0].update(weight=["x"]), "rules.weight"),
        (lambda c: c["rules"]["rules"][0].update(label=5), "rules.label: expected a class of the model's 3"),
        (lambda c: c["rules"]["rules"][0].update(depth=4, place="block"), "rules.depth: expected taps before block 4"),
        (lambda c: c["rules"]["rules"][0].update(place="os.system"), "rules.place"),
        (lambda c: c.update(rules=[1]), "config.rules: expected a mapping"),
    ],
)
def test_edited_rules_are_refused(tmp_path, change, message):
    model = model_with()
    model.set_rules(rules_of(model))
    model.save_pretrained(tmp_path / "model")
    edited(tmp_path / "model", change)
    with pytest.raises(ValueError, match=message):
        AdaptiveForSequenceClassification.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.set_pruner(name="none"),
        lambda model: model.set_attention(name="windowed", window=4),
        lambda model: model.set_temperatures([2.0] * 4),
        lambda model: model.double(),
        lambda model: model.train(),
        lambda model: model.load_state_dict(model.state_dict()),
    ],
)
def test_rules_end_with_what_they_were_fitted_for(change, caplog):
    model = model_with()
    model.set_rules(rules_of(model))
    with caplog.at_level(logging.WARNING):
        change(model)
    assert model.rules == () and model.config.rules is None and "no longer hold" in caplog.text


def test_rules_of_other_weights_are_removed(tmp_path, caplog):
    model = model_with()
    model.set_rules(rules_of(model))
    with torch.no_grad():
        model.encoder.blocks[0].inner.bias.add_(1)
    model.save_pretrained(tmp_path / "model")
    assert AdaptiveForSequenceClassification.from_pretrained(tmp_path / "model").rules == ()
    assert "not those that they were fitted for" in caplog.text


def test_int8_has_none(caplog):
    model = model_with()
    model.set_rules(rules_of(model))
    assert model.quantize(anyway=True).rules == () and model.rules


def test_a_certificate_ends(caplog):
    model = model_with()
    model.config.certificate = {"exit": {"name": "never"}, "bound": 0.01, "model": model_fingerprint(model)}
    model.set_rules(rules_of(model))
    assert model.config.certificate is None and model.rules and "sufficient rules were added" in caplog.text


def test_heads_come_after_rules():
    early = {"exit": {"name": "confidence", "threshold": 0.9}, "head_depths": [2, 4]}
    model = model_with(**early)
    with pytest.raises(ValueError, match="expected taps before block 2"):
        model.set_rules(rules_of(model))
    assert model.rules == ()
    model.set_rules(rules_of(model)[:3])
    late = model_with(**early | {"exit": {"name": "never"}})
    late.set_rules(rules_of(late))
    with pytest.raises(ValueError, match="expected taps before block 2"):
        late.set_exit(name="confidence", threshold=0.9)
    assert late.config.exit == {"name": "never"} and len(late.rules) == 4


def test_what_does_not_know_rules_refuses_them(tmp_path):
    model = model_with()
    model.set_rules(rules_of(model))
    with pytest.raises(RuntimeError, match=r"predict_stream: .*sufficient rules"):
        next(model.predict_stream([{"input_ids": [1, 2, 3]}]))
    with pytest.raises(ValueError, match=r"explain: .*sufficient rules"):
        explain(model, bert_like(), "a text")
    with pytest.raises(ValueError, match="sufficient rules cannot be exported"):
        export_onnx(model, None, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"place": "head"}, "rules.place: expected one of"),
        ({"depth": 0}, "expected 0 for the embeddings alone"),
        ({"depth": 1, "place": "embeddings"}, "expected 0 for the embeddings alone"),
        ({"pooling": "max"}, "rules.pooling"),
        ({"label": -1}, "rules.label"),
        ({"threshold": float("nan")}, "rules.threshold"),
        ({"exit_bound": 0.5}, "rules.exit_bound"),
        ({"bound": 0.0}, "rules.bound"),
    ],
)
def test_a_rule_checks_its_values(values, message):
    with pytest.raises(ValueError, match=message):
        rule(**values)
