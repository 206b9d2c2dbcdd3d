"""What the attention parts share: packed rows into groups of like length, each group through its layout, and back."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from eat.ops.grouping import Grouping
from eat.packed import Packed


@runtime_checkable
class Layout(Protocol):
    """How one group of sequences attends."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Float[Tensor, "batch width heads head_dim"]:
        """Return the mixed rows of q, k, v (batch, width, heads, head_dim)."""
        ...

    def received(self, q: Tensor, k: Tensor) -> Float[Tensor, "batch width"]:
        """Return the attention that each key receives: mean over heads, sum over live queries."""
        ...


class GroupedAttention:
    """Attention over ragged batches; a member of the family says in ``prepare`` how its groups attend."""

    global_tokens: tuple[str, ...] = ("cls",)

    def prepare(self, state: Packed) -> tuple[Grouping, list[Layout]]:
        """Return the groups of a batch and how each attends; called once until a row leaves."""
        raise NotImplementedError

    def __call__(
        self, qkv: Float[Tensor, "tokens 3 heads head_dim"], state: Packed, *, dropout: float, received: bool
    ) -> tuple[Float[Tensor, "tokens dim"], Float[Tensor, " tokens"] | None]:
        """Return the mixed rows and, where asked, the attention that each row received."""
        grouping, layouts = state.cached("attention", lambda: self.prepare(state))
        padded = qkv if grouping.gather is None else qkv.index_select(0, grouping.gather)
        mixed, scores = [], []
        for group, layout in zip(grouping.groups, layouts, strict=True):
            rows = padded[group.start : group.start + group.num_rows]
            q, k, v = rows.unflatten(0, (-1, group.width)).unbind(2)
            mixed.append(layout.mix(q, k, v, dropout).flatten(2).flatten(0, 1))
            if received:
                # Autocast would lower the products again.
                with torch.no_grad(), torch.autocast(q.device.type, enabled=False):
                    scores.append(layout.received(_at_least_float32(q), _at_least_float32(k)).flatten())
        return _unpad(mixed, grouping), _unpad(scores, grouping) if received else None


def _unpad(parts: list[Tensor], grouping: Grouping) -> Tensor:
    rows = parts[0] if len(parts) == 1 else torch.cat(parts)
    return rows if grouping.scatter is None else rows.index_select(0, grouping.scatter)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
