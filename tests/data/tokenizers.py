"""Small tokenizers of the kinds that the backbones bring."""

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from eat.data.tokenizer import train_tokenizer

TEXTS = ["the soup was not good , but the plot was . ok ! a film"]


def bert_like() -> PreTrainedTokenizerFast:
    """[CLS] A [SEP] B [SEP], types 0 and 1; what has other letters is unknown."""
    return train_tokenizer(TEXTS, 60)


def roberta_like() -> PreTrainedTokenizerFast:
    """<s> A </s></s> B </s>, no types; every byte is known."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *characters, "go", "od", "good"]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, [("g", "o"), ("o", "d"), ("go", "od")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


def bare() -> PreTrainedTokenizerFast:
    """Words alone, no special tokens around."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "good": 2, "soup": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")


KINDS = {"bert": bert_like, "roberta": roberta_like, "bare": bare}
