"""XLM-RoBERTa: RoBERTa on a hundred languages, under a model type of its own."""

from typing import Any, ClassVar

from transformers import XLMRobertaConfig

from eat.backbones.roberta import RobertaBackbone


class XlmRobertaBackbone(RobertaBackbone):
    """Conneau et al. 2020, and with it multilingual E5, BGE-M3 and every other checkpoint of type ``xlm-roberta``."""

    config_class: ClassVar[Any] = XLMRobertaConfig
