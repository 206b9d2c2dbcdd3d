"""Tokenizers: loading one, and making a small one from a task's own texts where no pretrained one is at hand."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable

from transformers import BertTokenizer, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(texts: Iterable[str], vocab_size: int = 4096) -> PreTrainedTokenizerFast:
    counts: Counter[str] = Counter()
    splitter = BertTokenizer(vocab={token: index for index, token in enumerate(SPECIAL_TOKENS)}).backend_tokenizer
    for text in texts:
        normalized = splitter.normalizer.normalize_str(text)
        counts.update(word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(normalized))
    vocab = wordpieces(counts, vocab_size - len(SPECIAL_TOKENS))
    return BertTokenizer(vocab={t: i for i, t in enumerate([*SPECIAL_TOKENS, *vocab])})


def wordpieces(counts, size):
    words = sorted(counts)
    pieces = [[c if i == 0 else "##" + c for i, c in enumerate(w)] for w in words]
    chars: Counter[str] = Counter()
    for w, ps in zip(words, pieces):
        for p in ps: chars[p] += counts[w]
    vocab = dict.fromkeys(sorted(chars, key=lambda c: (-chars[c], c))[:size])
    half = len(vocab) + (size - len(vocab)) // 2
    whole = set()
    for w in sorted(words, key=lambda w: (-counts[w], w)):
        if len(vocab) >= half: break
        vocab[w] = None; whole.add(w)
    keep = [i for i, w in enumerate(words) if w not in whole]
    words = [words[i] for i in keep]; pieces = [pieces[i] for i in keep]
    pair_counts: Counter = Counter(); where = defaultdict(set)
    for i, ps in enumerate(pieces):
        for pair in zip(ps, ps[1:]):
            pair_counts[pair] += counts[words[i]]; where[pair].add(i)
    heap = [(-c, p) for p, c in pair_counts.items()]
    heapq.heapify(heap)
    while heap and len(vocab) < size:
        c, pair = heapq.heappop(heap)
        if -c != pair_counts[pair] or c == 0: continue
        merged = pair[0] + pair[1][2:]
        vocab.setdefault(merged)
        changed = set()
        for i in where.pop(pair):
            ps = pieces[i]; n = counts[words[i]]
            for p in zip(ps, ps[1:]):
                pair_counts[p] -= n; changed.add(p)
            new = []; j = 0
            while j < len(ps):
                if j + 1 < len(ps) and (ps[j], ps[j+1]) == pair: new.append(merged); j += 2
                else: new.append(ps[j]); j += 1
            pieces[i] = new
            for p in zip(new, new[1:]):
                pair_counts[p] += n; where[p].add(i); changed.add(p)
        for p in changed:
            if pair_counts[p] > 0: heapq.heappush(heap, (-pair_counts[p], p))
    return list(vocab)
