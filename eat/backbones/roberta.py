"""RoBERTa: BERT whose positions count from the padding index."""

from typing import Any, ClassVar

from jaxtyping import Bool, Int
from torch import Tensor
from transformers import RobertaConfig

from eat.backbones.bert import BertBackbone


class RobertaBackbone(BertBackbone):
    """Liu et al. 2019. Its head: dropout, dense, tanh, dropout, classifier; its separator is the end of sentence.

    Positions are counted over the tokens that are not padding and start at ``pad_token_id`` + 1, which is 2 in every
    published checkpoint.
    """

    prefix = "roberta"
    head_names: ClassVar = {"dense": "classifier.dense", "out": "classifier.out_proj"}
    dropout_before_dense = True
    pooler_in_encoder = False
    position_offset = 2
    config_class: ClassVar[Any] = RobertaConfig

    def __post_init__(self) -> None:
        """Refuse also a padding index for which the position table means something else."""
        super().__post_init__()
        if self.pad_token_id != self.position_offset - 1:
            raise ValueError(
                f"backbone.pad_token_id: expected {self.position_offset - 1} for {self.config_class.model_type}, "
                f"got {self.pad_token_id}"
            )

    def position_ids(
        self, token_ids: Int[Tensor, "batch width"], live: Bool[Tensor, "batch width"]
    ) -> Int[Tensor, "batch width"]:
        """Count tokens that are not padding, masked or not, as Hugging Face does."""
        real = token_ids.ne(self.pad_token_id).long()
        return real.cumsum(1) * real + self.pad_token_id
