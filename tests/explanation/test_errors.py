"""What cannot be explained is refused in one line that names the argument."""

import inspect

import pytest

from eat.data.tokenizer import train_tokenizer
from eat.explanation.explained import explain
from eat.explanation.tokens import encode
from tests.made.models import make_model

TOKENIZER = train_tokenizer(["a good film"], 40)


class Slow:
    is_fast = False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"text": ["a", "b"]}, r"text: expected one text, got \['a', 'b'\]; for several call it once for each"),
        ({"text": None}, "text: expected one text, got None"),
        ({"text_pair": 5}, "text_pair: expected one text, got 5"),
        ({"text": "a \ud800"}, r"text: expected valid Unicode, got '\\ud800' at 2"),
        ({"max_length": 2}, "max_length: expected more than the 2 special tokens, got 2"),
        ({"max_length": "8"}, "max_length: expected an integer of 1 or more, got '8'"),
        ({"tokenizer": Slow()}, r"tokenizer: expected a fast one \(AutoTokenizer gives it\), got Slow"),
        ({"model": object()}, "model: expected an AdaptiveForSequenceClassification, got object"),
    ],
)
def test_arguments_of_another_kind(arguments, said, monkeypatch):
    monkeypatch.setattr("eat.explanation.explained.encode", inspect.unwrap(encode))
    given = {"model": make_model(), "tokenizer": TOKENIZER, "text": "a good film"} | arguments
    with pytest.raises(ValueError, match=f"^{said}"):
        inspect.unwrap(explain)(**given)


def test_training_mode():
    with pytest.raises(RuntimeError, match=r"training mode, call model\.eval\(\)"):
        explain(make_model().train(), TOKENIZER, "a good film")


def test_a_tokenizer_of_another_model():
    with pytest.raises(ValueError, match="does the tokenizer belong to this model"):
        explain(make_model(), train_tokenizer([chr(0x4E00 + index) for index in range(300)], 400), chr(0x4E00 + 299))
