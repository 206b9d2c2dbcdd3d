"""ELECTRA discriminators: BERT with narrower embeddings."""

from typing import Any, ClassVar

from transformers import ElectraConfig

from eat.backbones.bert import BertBackbone


class ElectraBackbone(BertBackbone):
    """Clark et al. 2020. Its head: dropout, dense, gelu, dropout, classifier."""

    prefix = "electra"
    encoder_names: ClassVar = BertBackbone.encoder_names | {"embeddings.project": "embeddings_project"}
    head_names: ClassVar = {"dense": "classifier.dense", "out": "classifier.out_proj"}
    head_activation = "gelu"
    dropout_before_dense = True
    pooler_in_encoder = False
    config_class: ClassVar[Any] = ElectraConfig

    def to_hf_config(self, **labels: Any) -> Any:
        """Write the shape as an ELECTRA config, whose embedding size has a default of its own."""
        return super().to_hf_config(embedding_size=self.embedding_size or self.dim, **labels)
