"""A model goes to the hub and comes back as it was; the hub is a local stand-in, its client the real one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from huggingface_hub import ModelCard
from transformers import AutoTokenizer

from eat.models.classifier import AdaptiveForSequenceClassification
from tests.made.hub import local_hub
from tests.made.runs import write_run

NAME = "somebody/tiny-eat"
TEXTS = ["good film", "the soup was very bad", "not fine"]
PROGRAM = """
import json, sys
import torch
import eat
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder, name, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
AutoModelForSequenceClassification.from_pretrained(folder).push_to_hub(name)
AutoTokenizer.from_pretrained(folder).push_to_hub(name)
model = AutoModelForSequenceClassification.from_pretrained(name)
inputs = AutoTokenizer.from_pretrained(name)(texts, padding=True, return_tensors="pt")
with torch.inference_mode():
    output = model(**inputs)
print(json.dumps([type(model).__name__, output.logits.tolist(), output.exit_depth.tolist(), model.config.exit]))
"""


def test_a_model_comes_back_from_the_hub_as_it_was_pushed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", exit={"name": "confidence", "threshold": 0.6}) / "model"
    with local_hub() as (address, repositories):
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))
        }
        environment |= {"HF_ENDPOINT": address, "HF_TOKEN": "hf_none", "HF_HOME": str(tmp_path / "cache")}
        environment |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-c", PROGRAM, str(folder), NAME, json.dumps(TEXTS)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = repositories[NAME]
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(files)
    assert {"eat", "early-exit"} <= set(ModelCard(files["README.md"].decode()).data.tags)
    assert json.loads(files["config.json"])["model_type"] == "eat"
    model = AdaptiveForSequenceClassification.from_pretrained(folder)
    inputs = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs)
    kind, logits, depths, loaded_exit = json.loads(done.stdout.splitlines()[-1])
    assert (kind, loaded_exit) == ("AdaptiveForSequenceClassification", model.config.exit)
    assert torch.equal(torch.tensor(logits), expected.logits) and depths == expected.exit_depth.tolist()
