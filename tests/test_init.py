"""What `import eat` does, with torch and transformers and without."""

import subprocess
import sys
from pathlib import Path

import yaml
from transformers import AutoConfig, AutoModelForSequenceClassification

import eat

WITHOUT_TORCH = """
import importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
import eat
assert eat.__all__ == ["__version__"], eat.__all__
assert not {"torch", "transformers", "numpy"} & set(sys.modules), sorted(sys.modules)
"""


def test_the_model_is_registered_with_transformers() -> None:
    config = AutoConfig.for_model("eat")
    assert type(config) is eat.AdaptiveConfig
    assert AutoModelForSequenceClassification._model_mapping[eat.AdaptiveConfig] is (
        eat.AdaptiveForSequenceClassification
    )


def test_without_torch_nothing_is_imported() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=True, cwd=Path(__file__).parents[1])


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == eat.__version__
