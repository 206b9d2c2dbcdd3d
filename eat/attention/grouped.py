"""Attention over packed rows through the path that fits, by default in groups of like length."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eat.attention.paths import Path, choose_path, device_support
from eat.ops.attention import Bias, DenseLayout
from eat.ops.band import BandLayout
from eat.ops.flex import compiled_flex, flex_windowed, window_block_mask
from eat.ops.grouping import Grouping
from eat.ops.precision import at_least_float32
from eat.ops.varlen import sequence_offsets, varlen_attention
from eat.packed import Packed

Layout = DenseLayout | BandLayout  # how one group of sequences attends


class GroupedAttention:
    """Attention over ragged batches through the path that `eat.attention.paths.choose_path` names.

    A member of the family says in ``reach`` how far a row sees, and in ``prepare`` how groups of like length attend.
    """

    global_tokens: tuple[str, ...] = ("cls",)
    equal_lengths = False
    """Whether only sequences of one length share a group: answers then have the same rounding in every batch."""

    bias: Bias | None = None
    """What a backbone adds to the scores, by original positions."""

    def prepare(self, state: Packed) -> tuple[Grouping, list[Layout]]:
        """Return the groups of a batch and how each attends; called once until a row is pruned."""
        raise NotImplementedError

    def reach(self, state: Packed) -> int | None:
        """Return the positions seen on either side, or None where every row sees all of its sequence."""
        raise NotImplementedError

    def is_global(self, state: Packed) -> Bool[Tensor, " tokens"]:
        """Return which rows see all and are seen by all, where others see only some."""
        return state.protected

    def __call__(
        self, qkv: Float[Tensor, "tokens 3 heads head_dim"], state: Packed, *, dropout: float, received: bool
    ) -> tuple[Float[Tensor, "tokens dim"], Float[Tensor, " tokens"] | None]:
        """Return the mixed rows and, where asked, the attention that each row received."""
        # Only the grouped path can drop attention weights or report those received.
        path = Path.GROUPED if received or dropout else state.cached(self, "path", lambda: self._path(qkv, state))
        if path is Path.VARLEN:
            offsets = state.cached(self, "offsets", lambda: sequence_offsets(state.lengths))
            return varlen_attention(qkv, offsets, max(state.host_lengths)), None
        if path is Path.FLEX and (reach := self.reach(state)) is not None:
            block_mask = state.cached(
                self,
                "block mask",
                lambda: window_block_mask(state.positions, state.sequence, self.is_global(state), reach),
            )
            return flex_windowed(qkv, block_mask, compiled_flex()), None
        return self._grouped(qkv, state, dropout=dropout, received=received)

    def _path(self, qkv: Float[Tensor, "tokens 3 heads head_dim"], state: Packed) -> Path:
        if self.bias is not None:  # the other kernels add none
            return Path.GROUPED
        support, windowed = device_support(qkv.device), self.reach(state) is not None
        return choose_path(
            support, dtype=qkv.dtype, head_dim=qkv.shape[3], lengths=state.host_lengths, windowed=windowed
        )

    def _grouped(
        self, qkv: Float[Tensor, "tokens 3 heads head_dim"], state: Packed, *, dropout: float, received: bool
    ) -> tuple[Float[Tensor, "tokens dim"], Float[Tensor, " tokens"] | None]:
        grouping, layouts = state.cached(self, "groups", lambda: self._prepared(state))
        padded = qkv if grouping.gather is None else qkv.index_select(0, grouping.gather)
        mixed, scores = [], []
        for group, layout in zip(grouping.groups, layouts, strict=True):
            rows = padded[group.start : group.start + group.num_rows]
            q, k, v = rows.unflatten(0, (-1, group.width)).unbind(2)
            mixed.append(layout.mix(q, k, v, dropout).flatten(2).flatten(0, 1))
            if received:
                # Autocast would lower the products again.
                with torch.no_grad(), torch.autocast(q.device.type, enabled=False):
                    scores.append(layout.received(at_least_float32(q), at_least_float32(k)).flatten())
        return _unpad(mixed, grouping), _unpad(scores, grouping) if received else None

    def _prepared(self, state: Packed) -> tuple[Grouping, list[Layout]]:
        """Return the groups and how each attends, the bias included."""
        grouping, layouts = self.prepare(state)
        if self.bias is None:
            return grouping, layouts
        positions = state.positions if grouping.gather is None else state.positions[grouping.gather]
        biased = []
        for group, layout in zip(grouping.groups, layouts, strict=True):
            own = positions[group.start : group.start + group.num_rows].view(-1, group.width)
            biased.append(layout.biased(self.bias, own))
        return grouping, biased


def _unpad(parts: list[Tensor], grouping: Grouping) -> Tensor:
    rows = parts[0] if len(parts) == 1 else torch.cat(parts)
    return rows if grouping.scatter is None else rows.index_select(0, grouping.scatter)
