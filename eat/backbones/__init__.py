"""Backbones: Hugging Face encoders' shapes and weights in our blocks."""

from collections.abc import Mapping
from typing import Any

from eat.backbones.albert import AlbertBackbone
from eat.backbones.base import Backbone
from eat.backbones.bert import BertBackbone
from eat.backbones.distilbert import DistilBertBackbone
from eat.backbones.electra import ElectraBackbone
from eat.backbones.modernbert import ModernBertBackbone
from eat.backbones.mpnet import MPNetBackbone
from eat.backbones.roberta import RobertaBackbone
from eat.backbones.xlm_roberta import XlmRobertaBackbone
from eat.registry import Family, build_part

__all__ = ["BACKBONES", "Backbone", "build_backbone"]

# The names are the model types of the Hugging Face configs.
BACKBONES: Family[type[Backbone]] = Family(
    "eat.backbones",
    {
        "bert": BertBackbone,
        "distilbert": DistilBertBackbone,
        "roberta": RobertaBackbone,
        "xlm-roberta": XlmRobertaBackbone,
        "modernbert": ModernBertBackbone,
        "mpnet": MPNetBackbone,
        "albert": AlbertBackbone,
        "electra": ElectraBackbone,
    },
)


def build_backbone(spec: Mapping[str, Any]) -> Backbone:
    """Build a backbone's description from ``{"name": ..., **shape}``."""
    return build_part("backbone", BACKBONES, spec)
