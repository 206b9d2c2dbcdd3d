"""Train a small WordPiece tokenizer on a task's own texts, for encoders that are trained from scratch."""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CONTINUES = "##"


def load_tokenizer(argument: str, source: str | Path, remedy: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a folder or the hub, as data: no code that it names runs.

    Raises:
        ValueError: If there is none, or it cannot be read; ``argument`` is who asks for it, ``remedy`` what to do.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        # From a folder without its files transformers makes a tokenizer that knows the special tokens alone.
        if len(tokenizer) > len(tokenizer.all_special_ids):
            return tokenizer
        error, reason = None, "its vocabulary is missing"
    except Exception as caught:  # the tokenizers library raises bare ones, transformers whatever a broken file gives
        error, reason = caught, _reason(caught)
    raise ValueError(f"{argument}: no tokenizer in {source} that can be read ({reason}); {remedy}") from error


def read_tokenizer(folder: Path, remedy: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer that was saved in a folder.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it cannot be read, with a ``remedy``.
    """
    if not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(f"tokenizer: {folder} has no tokenizer.json; {remedy}")
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # as above
        raise ValueError(
            f"tokenizer: {folder}/tokenizer.json or a file beside it is damaged ({_reason(error)}); {remedy}"
        ) from error


def _reason(error: Exception) -> str:
    """Return the first line of what a library says, cut where nobody reads on."""
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 4096, *, pair_types: bool = True
) -> PreTrainedTokenizerFast:
    """Train an uncased BERT tokenizer whose vocabulary comes from the texts: pairs get types 0 and 1.

    Without ``pair_types`` all tokens get type 0, for encoders that know one type alone.

    The vocabulary of ``vocab_size`` entries at most holds the special tokens, every character, then in equal parts the
    most frequent words whole and the pieces that byte-pair merging (Sennrich et al. 2016) finds in all other words: a
    word that was never seen falls into pieces that were. Ties go by the alphabet. The trainer of the tokenizers library
    is not used: from one process to the next it gives other vocabularies for the same texts.

    Raises:
        ValueError: If there is no room beside the special tokens, or no word in the texts.
    """
    if vocab_size <= len(SPECIAL_TOKENS):
        raise ValueError(f"vocab_size: expected more than the {len(SPECIAL_TOKENS)} special tokens, got {vocab_size}")
    counts = _count_words(texts)
    if not counts:
        raise ValueError("texts: expected at least one word to make a vocabulary from, got none")
    vocabulary = [*SPECIAL_TOKENS, *_vocabulary(counts, vocab_size - len(SPECIAL_TOKENS))]
    tokenizer = BertTokenizer(vocab={token: index for index, token in enumerate(vocabulary)})
    if pair_types:
        return tokenizer
    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0",
        special_tokens=[(token, vocabulary.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)  # BERT's own makes its template anew when loaded


def _count_words(texts: Iterable[str]) -> Counter[str]:
    """Count words as the tokenizer will see them: in lower case, without accents, punctuation apart."""
    backend = BertTokenizer(vocab={token: index for index, token in enumerate(SPECIAL_TOKENS)}).backend_tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        normal = backend.normalizer.normalize_str(text)
        counts.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal))
    return counts


def _vocabulary(counts: Mapping[str, int], size: int) -> list[str]:
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        characters.update({piece: number * count for piece, number in Counter(_characters(word)).items()})
    vocabulary = dict.fromkeys(_by_frequency(characters)[:size])
    words = [word for word in _by_frequency(counts) if word not in vocabulary]
    num_whole = (size - len(vocabulary)) // 2
    vocabulary |= dict.fromkeys(words[:num_whole])
    for piece in _merges({word: counts[word] for word in words[num_whole:]}):
        if len(vocabulary) >= size:
            break
        vocabulary[piece] = None
    return list(vocabulary)


def _merges(counts: Mapping[str, int]) -> Iterator[str]:
    """Merge the most frequent pair of neighbouring pieces again and again; yield what comes out."""
    words = {word: _characters(word) for word in sorted(counts)}
    frequency: Counter[tuple[str, str]] = Counter()
    found_in: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for word, pieces in words.items():
        for pair in itertools.pairwise(pieces):
            frequency[pair] += counts[word]
            found_in[pair].add(word)
    queue = [(-count, pair) for pair, count in frequency.items()]
    heapq.heapify(queue)
    while queue:
        count, pair = heapq.heappop(queue)
        if not count or -count != frequency[pair]:
            continue  # merged meanwhile, or its count has changed and stands elsewhere
        yield pair[0] + pair[1].removeprefix(_CONTINUES)
        changed: set[tuple[str, str]] = set()
        for word in found_in.pop(pair):
            before, after = words[word], _merged(words[word], pair)
            words[word] = after
            for gone in itertools.pairwise(before):
                frequency[gone] -= counts[word]
            for new in itertools.pairwise(after):
                frequency[new] += counts[word]
                found_in[new].add(word)
            changed.update(itertools.pairwise(before), itertools.pairwise(after))
        for other in changed:
            heapq.heappush(queue, (-frequency[other], other))


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece.removeprefix(_CONTINUES)
        else:
            merged.append(piece)
    return merged


def _characters(word: str) -> list[str]:
    return [word[0], *(_CONTINUES + character for character in word[1:])]


def _by_frequency(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda key: (-counts[key], key))
