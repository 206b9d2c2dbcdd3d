"""Exit heads: one answer per sequence from the rows alive at a depth."""

from collections.abc import ItemsView, Mapping, ValuesView
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from eat.modules.linear import Linear, activated
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
    return mean_in_order(state)


def mean_in_order(state: Packed) -> Float[Tensor, "batch dim"]:
    """Return the mean of each sequence's live rows, added in their order, so with the same rounding in every batch."""
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
        dense_bias: bool = True,
    ) -> None:
        super().__init__()
        self.pool = POOLINGS[pooling]
        self.before = nn.Dropout(dropout) if dropout_before_dense else nn.Identity()
        self.dense = Linear(dim, dim, bias=dense_bias)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.out = Linear(dim, num_labels)

    def forward(self, state: Packed) -> Float[Tensor, "batch classes"]:
        """Return one row of logits per live sequence."""
        return self.answer(self.pool(state))

    def answer(self, pooled: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """Return the logits for rows that are pooled already."""
        logits = self.out(self.dropout(activated(self.dense, self.before(pooled), self.activation)))
        return logits if self.temperature == 1 else logits / self.temperature


class NormedActivation(nn.Module):
    """An activation with a norm behind it: ModernBERT's head."""

    def __init__(self, activation: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.norm = norm

    def forward(self, rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Return the normalised activation."""
        return self.norm(self.activation(rows))


class Heads(nn.Module):
    """The heads of an encoder by depth, in ascending order; their names are the depths.

    No ``nn.ModuleDict``, which cannot be called: what wraps this module, as peft does to train and save it whole,
    stands between the encoder and every head.
    """

    def __init__(self, heads: Mapping[int, nn.Module]) -> None:
        super().__init__()
        for depth, head in sorted(heads.items()):
            self.add_module(str(depth), head)

    def forward(self, state: Packed, depth: int) -> Float[Tensor, "batch classes"]:
        """Return what the head at a depth answers."""
        return self[str(depth)](state)

    def __getitem__(self, depth: str) -> nn.Module:
        return cast(nn.Module, self._modules[depth])

    def items(self) -> ItemsView[str, nn.Module]:
        """Return the heads with their depths."""
        return cast(ItemsView[str, nn.Module], self._modules.items())

    def values(self) -> ValuesView[nn.Module]:
        """Return the heads."""
        return cast(ValuesView[nn.Module], self._modules.values())
