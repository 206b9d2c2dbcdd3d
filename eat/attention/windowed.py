"""Windowed attention with global tokens: a token sees its neighbours and [CLS]; [CLS] sees and is seen by all."""

from collections.abc import Sequence

from eat.attention.grouped import GroupedAttention, Layout
from eat.checks import shown
from eat.ops.attention import DenseLayout, additive, band_visible, padding_mask
from eat.ops.band import BLOCK, BandLayout, computed_pairs
from eat.ops.grouping import Grouping, group_sequences
from eat.packed import Packed

# Shorter sequences are multiplied densely under the band mask. Here blocks compute half of the dense products at EAT's
# window. Not measured on each machine: the FLOPs that tables report would then depend on it.
BLOCKED_FROM = 192

_ALL, _DENSE, _BLOCKED = 0, 1, 2


class WindowedAttention(GroupedAttention):
    """Windowed attention with global tokens in the manner of Longformer (Beltagy et al. 2020); EAT uses window 32.

    Window and global tokens share their projections. Distances are between original positions, so pruning does not
    widen the window. A sequence that fits into half a window needs no mask; longer ones are multiplied densely under
    the band mask until blocks are faster, which cost O(T * window). On a GPU one kernel does all of them.

    Args:
        window: Neighbours seen, half of them on either side; even and at least 2.
        global_tokens: "cls", and optionally "sep": tokens that see all and are seen by all, and that no pruner drops.
    """

    def __init__(self, window: int = 32, global_tokens: Sequence[str] = ("cls",)) -> None:
        if isinstance(window, bool) or not isinstance(window, int) or window < 2 or window % 2:
            raise ValueError(f"attention.window: expected an even integer of 2 or more, got {shown(window)}")
        listed = isinstance(global_tokens, list | tuple)
        if not listed or "cls" not in global_tokens or any(token not in ("cls", "sep") for token in global_tokens):
            raise ValueError(f"attention.global_tokens: expected ['cls'] or ['cls', 'sep'], got {shown(global_tokens)}")
        self.window = window
        self.global_tokens = tuple(global_tokens)

    def reach(self, state: Packed) -> int | None:
        """Return half the window, or None where every sequence fits into it."""
        reach = self.window // 2
        return None if max(state.extents) <= reach + 1 else reach

    def prepare(self, state: Packed) -> tuple[Grouping, list[Layout]]:
        """Group by how a sequence attends and by length, and build each group's mask from original positions."""
        modes = map(self._mode, state.host_lengths, state.extents)
        kinds = [(m, count if m == _BLOCKED else 0) for m, count in zip(modes, self.num_global(state), strict=True)]
        multiples = [BLOCK if mode == _BLOCKED else 1 for mode, _ in kinds]
        grouping = group_sequences(
            state.host_lengths, kinds, multiples, device=state.rows.device, equal=self.equal_lengths
        )
        positions, is_global = state.positions, self.is_global(state)
        if grouping.gather is not None:
            positions, is_global = positions[grouping.gather], is_global[grouping.gather]
        layouts: list[Layout] = []
        dtype = state.rows.dtype
        for group in grouping.groups:
            mode, num_global = kinds[group.sequences[0]]
            if mode == _ALL:
                layouts.append(DenseLayout(padding_mask(group.valid, dtype), group.valid))
                continue
            rows, shape = slice(group.start, group.start + group.num_rows), (len(group.sequences), group.width)
            seen = positions[rows].view(shape), is_global[rows].view(shape), group.valid
            if mode == _BLOCKED:
                layouts.append(BandLayout.build(*seen, window=self.window, num_global=num_global, dtype=dtype))
            else:
                visible = band_visible(*seen, self.window)
                layouts.append(DenseLayout(additive(visible, dtype).unsqueeze(1), group.valid))
        return grouping, layouts

    def num_global(self, state: Packed) -> tuple[int, ...]:
        """Count the global tokens of each sequence."""
        return state.num_protected

    def pairs(self, length: int, extent: int, num_global: int) -> int:
        """Count the pairs that are computed, the ones that the mask hides included."""
        if self._mode(length, extent) == _BLOCKED:
            return computed_pairs(length, self.window, num_global)
        return length * length

    def _mode(self, length: int, extent: int) -> int:
        if extent <= self.window // 2 + 1:
            return _ALL
        return _DENSE if length < BLOCKED_FROM else _BLOCKED
