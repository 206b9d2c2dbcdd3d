"""Adaptive text encoders in which tokens and sequences really leave.

Where torch and transformers are installed, importing `eat` registers the model with transformers, so that
`AutoModelForSequenceClassification.from_pretrained` and `pipeline` load a saved one, the latter also as
"adaptive-text-classification", which says where each text left. Elsewhere it imports nothing: serving an exported model
needs neither.
"""

from importlib.util import find_spec

__version__ = "0.1.0"
__all__ = ["__version__"]

if find_spec("torch") is not None and find_spec("transformers") is not None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from eat.backbones.mean_pooled import MeanPooledConfig, MeanPooledForSequenceClassification
    from eat.explanation import Explanation, explain
    from eat.models.classifier import AdaptiveForSequenceClassification
    from eat.models.config import AdaptiveConfig
    from eat.models.pipeline import register
    from eat.packed import AdaptiveOutput

    # exist_ok: a notebook may reload the package.
    AutoConfig.register(AdaptiveConfig.model_type, AdaptiveConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(AdaptiveConfig, AdaptiveForSequenceClassification, exist_ok=True)

    AutoConfig.register(MeanPooledConfig.model_type, MeanPooledConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(MeanPooledConfig, MeanPooledForSequenceClassification, exist_ok=True)

    register()

    __all__ += ["AdaptiveConfig", "AdaptiveForSequenceClassification", "AdaptiveOutput", "Explanation", "explain"]
