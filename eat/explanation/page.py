"""Write an explanation as HTML with shaded words: a card for notebooks, or a page of its own.

Everything that comes from a text, a tokenizer or a model is escaped. Nothing is loaded from elsewhere and nothing runs.
Dropped words are struck through, so that the view does not rest on colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import islice
from pathlib import Path

from eat.explanation.observed import HeadAnswer, Observed, Pruning, Token
from eat.explanation.plain_text import counted, joined, summary

STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
MAX_CLASSES = 3  # shown for each head
FAINTEST, DARKEST = 0.06, 0.5  # opacity of the shade behind a word; text stays readable on it, in light and dark


def document(observed: Observed) -> str:
    """Return a page of HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(summary(observed))}</title>\n</head>\n<body>\n{card(observed)}\n</body>\n</html>\n"
    )


def card(observed: Observed) -> str:
    """Return a part of a page, with its style."""
    return (
        f'<section class="eat-explained"><style>{STYLE}</style>{_header(observed)}'
        f"<ol>{''.join(_steps(observed))}</ol>{_legend(observed)}</section>"
    )


def _header(observed: Observed) -> str:
    sure = "" if observed.confidence is None else f' <span class="sure">{observed.confidence:.1%}</span>'
    ran = "".join(f'<i class="{"ran" if d < observed.exit_depth else ""}"></i>' for d in range(observed.num_layers))
    notes = [
        f"Answered after layer {observed.exit_depth} of {observed.num_layers}: {observed.reason}.",
        f"Of {len(observed.tokens)} tokens {observed.tokens_left} were left in the last layer that ran.",
        f"{observed.tokens_cut} tokens beyond the longest input were cut off." if observed.tokens_cut else "",
        f"Operating point: {observed.operating_point}." if not observed.certificate else f"{observed.certificate}.",
    ]
    return (
        f'<header><p class="answer"><b>{escape(observed.label)}</b>{sure}'
        f'<span class="layers" role="img" aria-label="{escape(summary(observed))}">{ran}</span></p>'
        f"<p>{escape(' '.join(filter(None, notes)))}</p></header>"
    )


def _steps(observed: Observed) -> Iterator[str]:
    everything = [True] * len(observed.tokens)
    yield _step("Input", "", _words(observed.tokens, everything, everything, [None] * len(everything)), reached=True)
    for step in observed.steps:
        title = f"Layer {step.depth}, {'head' if isinstance(step, HeadAnswer) else 'pruner'}"
        if isinstance(step, HeadAnswer):
            leaves = step.reached and step.depth == observed.exit_depth
            note = f"exits here: {step.decision}" if leaves else step.decision
            yield _step(title, note, _bars(step), step.reached, leaves)
        else:
            shades = _shades(step)
            yield _step(title, counted(step), _words(observed.tokens, step.alive, step.kept, shades), step.reached)


def _step(title: str, note: str, content: str, reached: bool, leaves: bool = False) -> str:
    kind = "leaves" if leaves else "" if reached else "beyond"
    said = note if reached or note.startswith("not ") else f"not reached; {note}"
    return f'<li class="{kind}"><div class="at"><b>{title}</b> <span>{escape(said)}</span></div>{content}</li>'


def _bars(head: HeadAnswer) -> str:
    if not head.probabilities:
        return f'<p class="number">{escape(head.label)}</p>'
    rows = (
        f'<tr><th scope="row">{escape(name)}</th><td class="bar"><i style="width:{100 * value:.1f}%"></i></td>'
        f"<td>{value:.1%}</td></tr>"
        for name, value in islice(head.probabilities.items(), MAX_CLASSES)
    )
    return f"<table>{''.join(rows)}</table>"


def _words(
    tokens: Sequence[Token], alive: Sequence[bool], kept: Sequence[bool], shades: Sequence[tuple[float, str] | None]
) -> str:
    """Write the live tokens, pieces of a word together."""
    parts: list[str] = []
    last: Token | None = None
    for token, is_alive, stays, shade in zip(tokens, alive, kept, shades, strict=True):
        if not is_alive:
            continue
        if last is not None and not joined(last, token):
            parts.append(" ")
        kind = "special" if token.text_index is None else ""
        style = "" if shade is None else f' style="--shade:{shade[0]:.2f}" title="{escape(shade[1])}"'
        tag = "span" if stays else "del"
        parts.append(f'<{tag} class="{kind}"{style}>{escape(token.text)}</{tag}>')
        last = token
    return f'<p class="words" dir="auto">{"".join(parts)}</p>'


def _shades(pruning: Pruning) -> list[tuple[float, str] | None]:
    """Return each token's opacity, from the least to the most important one here, and what is said of it."""
    known = [score for score in pruning.scores if score is not None and score == score]
    low, high = min(known, default=0.0), max(known, default=0.0)
    shades: list[tuple[float, str] | None] = []
    for score, stays in zip(pruning.scores, pruning.kept, strict=True):
        if score is None:
            shades.append(None)
            continue
        place = (score - low) / (high - low) if high > low and score == score else 0.0
        said = f"importance {score:.4g}, {'kept' if stays else 'dropped'}"
        shades.append((FAINTEST + place * (DARKEST - FAINTEST), said))
    return shades


def _legend(observed: Observed) -> str:
    if not any(isinstance(step, Pruning) for step in observed.steps):
        return ""
    return (
        f'<footer>Importance to the pruner: <span style="--shade:{FAINTEST}">low</span> '
        f'<span style="--shade:{(FAINTEST + DARKEST) / 2}">middle</span> <span style="--shade:{DARKEST}">high</span>; '
        "<del>dropped here</del>. What was dropped before is left out.</footer>"
    )
