"""What an explanation looks like: text from anywhere is shown and never obeyed, and the views say the same."""

import re
from html.parser import HTMLParser

import pytest
import torch

import eat
from eat.data.tokenizer import train_tokenizer
from tests.made.models import make_model

HOSTILE = "good <script>alert(1)</script> <img src=x onerror=alert(1)> &amp; \"quoted\" 'so' </p></section> {x} film"
LABELS = {0: "<b onmouseover=alert(1)>no</b>", 1: "\x1b[31myes\nno"}
TOKENIZER = train_tokenizer([HOSTILE], 80)
OURS = {"html", "head", "meta", "title", "body", "section", "style", "header", "p", "b", "span", "i", "ol", "li", "div"}
OURS |= {"table", "tr", "th", "td", "footer", "del"}
ATTRIBUTES = {"lang", "charset", "name", "content", "class", "style", "title", "dir", "scope", "role", "aria-label"}


class Read(HTMLParser):
    """Collects tags, attributes and visible text; checks that what is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text, self.open = set(), set(), [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attributes)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


@pytest.fixture(scope="module")
def answer():
    options = {"pruner": {"name": "attention_received", "depths": [1, 2], "ratio": 0.3}, "id2label": LABELS}
    model = make_model(torch.float64, exit={"name": "confidence", "threshold": 0.99}, **options)
    return eat.explain(model, TOKENIZER, HOSTILE, "</style><script>alert(2)</script>")


def test_html_in_texts_and_labels_is_shown_and_not_run(answer):
    page = Read(answer.to_html())
    assert page.tags <= OURS
    assert page.attributes <= ATTRIBUTES
    assert HOSTILE in "".join(page.text) and "</style><script>alert(2)</script>" in "".join(page.text)
    assert LABELS[0] in "".join(page.text)


def test_nothing_is_loaded_from_elsewhere(answer):
    page = answer.to_html()
    assert not re.search(r"https?:|url\(|@import|<link|<script", page)


def test_escape_sequences_do_not_reach_the_terminal():
    model = make_model(torch.float64, id2label={0: "\x1b[31mno\n", 1: "\x1b]0;x\x07"})
    said = str(eat.explain(model, TOKENIZER, "good \x1b[31mfilm\r\x9b2J \u202egood"))
    lines = said.split("\n")
    assert all(character.isprintable() for line in lines for character in line)
    starts = ("\N{REPLACEMENT CHARACTER}", "operating point", "input", "layer", "          drops", "behind the exit")
    assert all(line.startswith(starts) or not line or line.split()[1:3] == ["tokens", "came"] for line in lines)


def test_dropped_tokens_are_struck_through_and_gone_afterwards(answer):
    steps = re.findall(r"<li.*?</li>", answer.to_html(), re.S)
    first, second = (step for step in steps if ", pruner" in step)
    pruned, then = answer.prunings
    assert first.count("<del") == sum(pruned.alive) - sum(pruned.kept)
    assert second.count("<del") + second.count("<span class=") == sum(then.alive) == sum(pruned.kept)


def test_shades_run_from_the_least_to_the_most_important(answer):
    step = next(step for step in re.findall(r"<li.*?</li>", answer.to_html(), re.S) if ", pruner" in step)
    shades = [float(value) for value in re.findall(r"--shade:([\d.]+)", step)]
    scores = [score for score in answer.prunings[0].scores if score is not None]
    assert len(shades) == len(scores) and min(shades) == 0.06 and max(shades) == 0.5
    assert shades[scores.index(max(scores))] == 0.5


def test_both_views_name_what_is_behind_the_exit(answer):
    early = eat.explain(make_model(exit={"name": "confidence", "threshold": 0.0}), TOKENIZER, "good film")
    assert early.exit_depth == 1
    before, behind = str(early).split("behind the exit")
    assert "pruner" not in before and behind.count("head:") == 3 and behind.count("pruner keeps") == 2
    assert early._repr_html_().count('class="beyond"') == 5 and early._repr_html_().count('class="leaves"') == 1
    assert "behind the exit" not in str(answer) or answer.exit_depth < 4


def test_equal_scores_have_one_shade():
    model = make_model(pruner={"name": "l2_norm", "depths": [1], "ratio": 0.0})
    with torch.no_grad():
        norm = model.encoder.blocks[0].outer_norm
        norm.weight.fill_(0.0)
        norm.bias.fill_(1.0)
    shades = re.findall(r"--shade:([\d.]+)", eat.explain(model, TOKENIZER, "good film").to_html().split("<footer")[0])
    assert set(shades) == {"0.06"}
