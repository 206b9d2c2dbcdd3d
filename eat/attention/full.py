"""Full attention: every token sees every live token of its sequence."""

from eat.attention.grouped import GroupedAttention, Layout
from eat.ops.attention import DenseLayout, padding_mask
from eat.ops.grouping import Grouping, group_sequences
from eat.packed import Packed


class FullAttention(GroupedAttention):
    """Dense attention: the option that switches the window off."""

    def reach(self, state: Packed) -> None:
        """Return None: every row sees all."""

    def prepare(self, state: Packed) -> tuple[Grouping, list[Layout]]:
        """Group by length; a mask exists only where a group holds padding."""
        batch = len(state.host_lengths)
        alike, ones = [(0,)] * batch, [1] * batch
        grouping = group_sequences(state.host_lengths, alike, ones, device=state.rows.device, equal=self.equal_lengths)
        dtype = state.rows.dtype
        return grouping, [DenseLayout(padding_mask(group.valid, dtype), group.valid) for group in grouping.groups]

    def pairs(self, length: int, extent: int, num_global: int) -> int:
        """Count all pairs."""
        return length * length
