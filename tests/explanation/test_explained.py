"""The explanation says what the model answers, and shows what its pruner kept and its heads said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import eat
from eat.data.tokenizer import train_tokenizer
from eat.explanation import Explanation
from tests.made.models import make_model
from tests.made.runs import WORDS
from tests.reference.masked import MaskedClassifier
from tests.reference.tiny import randomise

TEXT = "The film was not good, but the soup was great. Very poor film, very fine soup!"
PRUNER = {"name": "attention_received", "depths": [1, 2], "ratio": [0.3, 0.5]}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer([" ".join(WORDS), TEXT], 100)


def model(**options: Any) -> eat.AdaptiveForSequenceClassification:
    return make_model(torch.float64, **{"pruner": PRUNER, "exit": {"name": "confidence", "threshold": 0.85}} | options)


def explained(tokenizer: PreTrainedTokenizerBase, *texts: str, **options: Any) -> Explanation:
    return eat.explain(model(**options), tokenizer, *texts)


@pytest.mark.parametrize("pair", [None, "the soup was awful"])
@pytest.mark.parametrize("name", ["none", "l2_norm", "attention_received", "random"])
def test_the_answer_is_the_models_and_what_stays_is_the_masked_references(tokenizer, name, pair):
    subject = model(pruner={"name": name} | ({} if name == "none" else {"depths": [1, 2], "ratio": [0.3, 0.5]}))
    randomise(subject)  # else all norms are equal but for rounding
    encoded = tokenizer(TEXT, pair, return_tensors="pt")
    with torch.inference_mode():
        output = subject(**encoded)
        reference = MaskedClassifier(subject)(encoded["input_ids"], None, encoded["token_type_ids"], trace=True)
    answer = eat.explain(subject, tokenizer, TEXT, pair)
    depth = int(output.exit_depth)
    (taken,) = [head for head in answer.heads if head.depth == depth]
    assert answer.exit_depth == depth and taken.reached
    assert taken.logits == tuple(output.logits[0].tolist())
    assert answer.label == subject.config.id2label[int(output.logits.argmax())]
    assert answer.confidence == float(output.logits.softmax(-1).max())
    assert [pruning.depth for pruning in answer.prunings] == list(subject.pruner.depths)
    for pruning in answer.prunings:
        assert list(pruning.kept) == reference.alive[pruning.depth - 1][0].tolist()
        assert pruning.reached == (pruning.depth < depth)
        ranked = [score for score in pruning.scores if score is not None]
        assert len(ranked) == sum(pruning.alive) - 1  # all but [CLS]
        least_kept = min(score for score, kept in zip(pruning.scores, pruning.kept, strict=True) if kept and score)
        dropped = [s for s, kept in zip(pruning.scores, pruning.kept, strict=True) if s is not None and not kept]
        assert max(dropped) <= least_kept
    heads = torch.tensor([head.logits for head in answer.heads], dtype=torch.float64)
    torch.testing.assert_close(heads, reference.all_logits[0], rtol=1e-9, atol=1e-9)
    assert answer.tokens_left == int(output.tokens_kept[0, depth - 1])


def test_words_are_those_that_were_typed(tokenizer):
    answer = explained(tokenizer, TEXT, "Awful")
    pieces = [token for token in answer.tokens if token.text_index == 0]
    assert all(token.text == TEXT[token.start : token.end] for token in pieces)
    assert "".join(token.text for token in pieces) == TEXT.replace(" ", "")
    assert [token.text for token in answer.tokens if token.text_index is None] == ["[CLS]", "[SEP]", "[SEP]"]
    assert "".join(token.text for token in answer.tokens if token.text_index == 1) == "Awful"
    assert f"[CLS] {TEXT} [SEP] Awful [SEP]" in str(answer) and f"{TEXT[:3]}</span>" in answer.to_html()


@pytest.mark.parametrize(
    ("exit", "said"),
    [
        ({"name": "confidence", "threshold": 0.0}, r"^confidence 0\.\d+ >= 0$"),
        ({"name": "entropy", "threshold": 1.0}, r"^entropy 0\.\d+ <= 1$"),
        ({"name": "confidence", "threshold": [0.0, 0.1]}, r"^confidence 0\.\d+ >= 0(\.1)?$"),
        ({"name": "patience", "patience": 1}, "^patience: enough heads in a row fulfil it$"),
        ({"name": "never"}, "^the last head answers what is left$"),
    ],
)
def test_the_reason_is_the_criterions(tokenizer, exit, said):
    answer = explained(tokenizer, TEXT, exit=exit, head_depths=[1, 2, 3])
    assert_matches(said, answer.reason)
    assert answer.exit_depth == {"patience": 2, "never": 4}.get(exit["name"], 1) or exit["name"] == "patience"


def assert_matches(pattern: str, text: str) -> None:
    with pytest.raises(AssertionError, match=pattern):
        raise AssertionError(text)


def test_heads_that_let_a_text_go_on_say_why(tokenizer):
    first = explained(tokenizer, TEXT, exit={"name": "confidence", "threshold": 1.0}).heads[0]
    assert_matches(r"^confidence 0\.\d+, needs >= 1$", first.decision)
    first = explained(tokenizer, TEXT, exit={"name": "patience", "patience": 3}).heads[0]
    assert first.decision.startswith("patience has no score yet")
    first = explained(tokenizer, TEXT, exit={"name": "confidence", "threshold": 0.0, "veto_margin": 1.0}).heads[0]
    assert_matches(r"confidence .* >= 0, but vetoed: classes within 1, and the heads do not all agree", first.decision)
    unused = explained(tokenizer, TEXT, exit={"name": "never"}).heads[0]
    assert unused.decision == "not run, as no text exits early here" and not unused.reached


def test_without_early_heads_and_pruning_there_is_one_step(tokenizer):
    answer = explained(tokenizer, TEXT, exit={"name": "never"}, head_depths=None, pruner={"name": "none"})
    assert not answer.prunings and [head.depth for head in answer.heads] == [4] and answer.exit_depth == 4
    assert answer.tokens_left == len(answer.tokens)
    assert "pruner" not in str(answer) and "footer" not in answer.to_html().partition("</style>")[2]


def test_regression_gives_the_number(tokenizer):
    subject = model(num_labels=1, exit={"name": "difference", "threshold": 1e9})
    with torch.inference_mode():
        output = subject(**tokenizer(TEXT, return_tensors="pt"))
    answer = eat.explain(subject, tokenizer, TEXT)
    assert answer.confidence is None and answer.label == f"{float(output.logits):.4g}"
    assert answer.exit_depth == int(output.exit_depth) == 2 and answer.reason.startswith("difference")
    assert answer.label in answer.to_html() and answer.label in str(answer)


def test_calibrated_heads_show_what_the_criterion_sees(tokenizer):
    subject = model()
    subject.set_temperatures([50.0, 40.0, 30.0, 20.0])
    answer = eat.explain(subject, tokenizer, TEXT)
    assert [head.temperature for head in answer.heads] == [50.0, 40.0, 30.0, 20.0]
    assert answer.exit_depth == 4 and answer.heads[0].confidence < 0.85


def test_a_certificate_is_named(tokenizer):
    subject = model()
    facts = {"loss": "accuracy_gap", "bound": 0.01, "confidence": 0.95, "examples": 1500}
    subject.config.certificate = {"exit": subject.config.exit, "model": "x", **facts}
    said = "Certified operating point: accuracy_gap at most 1 %, 95 % confidence, on 1500 examples"
    answer = eat.explain(subject, tokenizer, TEXT)
    assert answer.certificate == said and said in str(answer) and said in answer.to_html()


def test_long_texts_are_cut_as_the_tokenizer_cuts_them_and_it_is_said(tokenizer):
    subject = model()
    longest = subject.backbone.max_length
    for texts in ((TEXT * 40,), (TEXT * 40, TEXT), (TEXT, TEXT * 40), (TEXT * 40, TEXT * 300)):
        whole = tokenizer(*texts, verbose=False)["input_ids"]
        cut = tokenizer(*texts, truncation=True, max_length=longest)["input_ids"]
        answer = eat.explain(subject, tokenizer, *texts)
        assert tokenizer.convert_tokens_to_ids([t.text.lower() for t in answer.tokens[1:4]]) == cut[1:4]
        assert len(answer.tokens) == len(cut) == longest and answer.tokens_cut == len(whole) - longest
        assert f"{answer.tokens_cut} tokens beyond" in str(answer) and f"{answer.tokens_cut} tokens" in answer.to_html()
    assert len(eat.explain(subject, tokenizer, TEXT, max_length=9).tokens) == 9


def test_byte_level_tokens_of_one_character_show_it_once(tmp_path: Path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *alphabet])}
    raw = Tokenizer(models.BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    raw.save(str(tmp_path / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "pad_token": "[PAD]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    answer = eat.explain(wide_model(len(vocabulary)), loaded, "ö 😀!")
    assert len(answer.tokens) == 10 and "".join(token.text for token in answer.tokens[1:-1]).replace(" ", "") == "ö😀!"


def wide_model(vocab_size: int) -> eat.AdaptiveForSequenceClassification:
    from eat.backbones.tiny import tiny_config

    return eat.AdaptiveForSequenceClassification.from_backbone(tiny_config(vocab_size=vocab_size), seed=0)


def test_classes_of_one_name_are_told_apart(tokenizer):
    subject = model(num_labels=3, id2label={0: "same", 1: "same", 2: "other"})
    answer = eat.explain(subject, tokenizer, TEXT)
    assert set(answer.heads[0].probabilities) == {"same (0)", "same (1)", "other"}
    assert sum(answer.heads[0].probabilities.values()) == pytest.approx(1)


def test_the_model_is_left_as_it_was(tokenizer):
    subject = model()
    pruner, config = subject.pruner, subject.config.to_dict()
    eat.explain(subject, tokenizer, TEXT)
    assert subject.pruner is pruner and subject.config.to_dict() == config and not subject.training


def test_a_pruner_with_weights_and_without_scores_is_watched(tokenizer):
    class Half(torch.nn.Module):
        depths, scale = (1,), 1.0

        def needs(self, depth):
            return False

        def lengths_after(self, state, depth):
            return None

        def forward(self, state, depth):
            return state.protected | (state.positions % 2 == 0)

    subject = model()
    subject.encoder.pruner = None
    del subject.encoder.pruner
    subject.encoder.pruner = Half()
    (pruning,) = eat.explain(subject, tokenizer, TEXT).prunings
    assert pruning.kept == tuple(position % 2 == 0 for position in range(len(pruning.kept)))
    assert set(pruning.scores) == {None}
    assert isinstance(subject.encoder.pruner, Half)


def test_the_record_is_plain_data(tokenizer):
    answer = explained(tokenizer, TEXT, "awful")
    values = answer.to_dict()
    assert json.loads(json.dumps(values))["heads"][0]["label"] == answer.heads[0].label
    assert values["tokens"][0]["text"] == "[CLS]" and values["exit_depth"] == answer.exit_depth
    with pytest.raises(AttributeError, match="cannot assign"):
        answer.label = "other"
