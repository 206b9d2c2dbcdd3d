"""Exit heads: one answer per sequence from the rows alive at a depth."""

from jaxtyping import Float
from torch import Tensor, nn

from eat.modules.linear import Linear
from eat.packed import Packed


def cls_pool(state: Packed) -> Float[Tensor, "batch dim"]:
    """Return each sequence's first live row, its [CLS]."""
    if len(state.host_lengths) == 1:
        return state.rows[:1]
    return state.rows.index_select(0, state.starts)


def mean_pool(state: Packed) -> Float[Tensor, "batch dim"]:
    """Return the mean of each sequence's live rows, the special tokens included."""
    if len(state.host_lengths) == 1:
        return state.rows.mean(0, keepdim=True)
    total = state.rows.new_zeros(len(state.host_lengths), state.rows.shape[1])
    total = total.index_add(0, state.sequence, state.rows)
    return total / state.lengths.unsqueeze(1).to(total.dtype)


POOLINGS = {"cls": cls_pool, "mean": mean_pool}


class Head(nn.Module):
    """Pool, dense layer, activation, classifier: the shape of the backbone's own classification head.

    Dropout acts before the classifier and, in RoBERTa and ELECTRA, before the dense layer; ``num_labels`` is 1 for
    regression.
    """

    temperature = 1.0  # divides the logits (temperature scaling, Guo et al. 2017, arXiv:1706.04599)

    def __init__(
        self,
        pooling: str,
        activation: nn.Module,
        *,
        dim: int,
        num_labels: int,
        dropout: float,
        dropout_before_dense: bool = False,
    ) -> None:
        super().__init__()
        self.pool = POOLINGS[pooling]
        self.before = nn.Dropout(dropout) if dropout_before_dense else nn.Identity()
        self.dense = Linear(dim, dim, activation)
        self.dropout = nn.Dropout(dropout)
        self.out = Linear(dim, num_labels)

    def forward(self, state: Packed) -> Float[Tensor, "batch classes"]:
        """Return one row of logits per live sequence."""
        return self.answer(self.pool(state))

    def answer(self, pooled: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """Return the logits for rows that are pooled already."""
        logits = self.out(self.dropout(self.dense(self.before(pooled))))
        return logits if self.temperature == 1 else logits / self.temperature
