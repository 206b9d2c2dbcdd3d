"""The data module on a small demo corpus."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from lightning import LightningModule, Trainer

from eat.data import TextDataModule
from eat.data.sampler import epoch_batches
from eat.data.tokenizer import train_tokenizer
from eat.tasks.demo import DemoTask

TASK = DemoTask(train_rows=300, validation_rows=50)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TASK.load()["train"]["text"], 300)


@pytest.fixture
def make(tokenizer, tmp_path):
    def build(task=TASK, **options):
        options = {"max_length": 24, "batch_size": 16, "threshold_examples": 20, "certification_examples": 30} | options
        data = TextDataModule(task, tokenizer, cache_dir=tmp_path, **options)
        data.setup()
        return data

    return build


def examples(loader):
    return [batch["example"].tolist() for batch in loader]


def test_held_out_rows_leave_training(make):
    data = make()
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 250,
        "threshold": 20,
        "certification": 30,
        "validation": 50,
    }
    assert data.report_splits == ("validation",)
    assert {name: len(tokens) for name, tokens in data.tokenized.items()} == dict(map(_size, data.splits.items()))
    texts = [text for name in ("train", "threshold", "certification") for text in data.splits[name]["text"]]
    assert sorted(texts) == sorted(TASK.load()["train"]["text"])


def _size(item):
    return item[0], len(item[1])


def test_batches_hold_the_rows_that_they_name(make, tokenizer):
    data = make()
    for split in data.splits:
        rows = data.splits[split]
        loader = data.loader(split, batch_size=7)
        assert [i for batch in examples(loader) for i in batch] == list(range(len(rows)))
        batch = next(iter(loader))
        expected = tokenizer(rows["text"][:7], truncation=True, max_length=24)
        assert batch["input_ids"].tolist() == [token for ids in expected["input_ids"] for token in ids]
        assert batch["labels"].tolist() == rows["label"][:7]


def test_validation_is_the_threshold_split(make):
    data = make()
    assert examples(data.val_dataloader()) == examples(data.loader("threshold"))


def test_a_budget_is_a_seeded_part_of_what_is_left_after_holding_out(make):
    whole, part, other = make(), make(train_examples=40), make(train_examples=40, seed=1)
    assert len(part.splits["train"]) == 40
    assert set(part.splits["train"]["text"]) < set(whole.splits["train"]["text"])
    assert part.splits["train"]["text"][:] == make(train_examples=40).splits["train"]["text"][:]
    assert part.splits["train"]["text"][:] != other.splits["train"]["text"][:]
    assert part.splits["threshold"]["text"][:] == whole.splits["threshold"]["text"][:]
    assert len(make(train_examples=9999).splits["train"]) == 250  # at most


def test_training_order_follows_from_seed_and_epoch_and_resumes(make):
    data = make()
    data.resume_at(2, batches=3)
    lengths = data.tokenized["train"].lengths
    expected = epoch_batches(lengths, 16, seed=0, epoch=2, group_by_length=True)
    assert examples(data.train_dataloader()) == expected[3:]
    assert examples(make(seed=5).train_dataloader()) != examples(make().train_dataloader())


class Reader(LightningModule):
    """Trains nothing and notes what comes."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["example"].tolist())
        return self.weight * 0

    def validation_step(self, batch, batch_idx):
        raise AssertionError("not asked for")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*treespec")
def test_lightning_gives_every_epoch_its_order(make, tmp_path):
    data, reader = make(), Reader()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    Trainer(max_epochs=3, accelerator="cpu", limit_val_batches=0, default_root_dir=tmp_path, **quiet).fit(reader, data)
    lengths = data.tokenized["train"].lengths
    expected = [
        batch for epoch in range(3) for batch in epoch_batches(lengths, 16, seed=0, epoch=epoch, group_by_length=True)
    ]
    assert reader.seen == expected


def test_the_fingerprint_is_of_texts_and_labels_alone(make):
    class Changed(DemoTask):
        def __init__(self, text="good", label=1):
            super().__init__()
            self.first = {"text": text, "label": label}

        def load(self, root=None, cache_dir=None):
            rows = [{"text": f"text {i}", "label": i % 2} for i in range(40)]
            return {"train": Dataset.from_list(rows), "validation": Dataset.from_list([self.first, *rows[:3]])}

    first = make(Changed()).fingerprint()
    assert first == make(Changed(), max_length=9, batch_size=3).fingerprint()
    assert first == "917ef7c7f344fb072deac46f6a3c711c"  # on every machine
    others = [Changed(text="bad"), Changed(label=0)]
    assert (
        len({first, *(make(task).fingerprint() for task in others), make(Changed(), train_examples=5).fingerprint()})
        == 4
    )


def test_the_summary_says_what_the_numbers_come_from(make):
    class Part(DemoTask):
        def __init__(self):
            self.official_rows = {"train": 300, "validation": 1000}

        def load(self, root=None, cache_dir=None):
            return TASK.load()

    facts = make(Part(), train_examples=100).summary()
    assert {name: row["rows"] for name, row in facts.items()} == {
        "train": 100,
        "threshold": 20,
        "certification": 30,
        "validation": 50,
    }
    assert facts["train"]["data"] == "complete"
    fewest, most = map(int, facts["train"]["rows_of_a_class"].split(" to "))
    assert (TASK.num_labels, fewest + most) == (2, 100)
    assert facts["validation"]["data"] == "subset 50 of 1,000"
    assert facts["validation"]["mean_tokens"] == pytest.approx(
        np.mean([len(batch["input_ids"]) for batch in make().loader("validation", batch_size=1)])
    )


def test_nothing_held_out_is_no_split(make):
    data = make(threshold_examples=0, certification_examples=0)
    assert list(data.splits) == ["train", "validation"]
    with pytest.raises(ValueError, match=r"split: expected one of \['train', 'validation'\], got 'threshold'"):
        data.val_dataloader()


def test_bad_input_is_refused(make):
    with pytest.raises(ValueError, match="train_examples: expected an integer of 1 or more, or null, got 0"):
        make(train_examples=0)
    with pytest.raises(ValueError, match="batch_size: expected an integer of 1 or more, got 0"):
        make().loader("train", batch_size=0)
    with pytest.raises(ValueError, match="max_length: expected more than the 2 special tokens, got 2"):
        make(max_length=2)
