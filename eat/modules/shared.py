"""One block at every depth."""

from collections.abc import Iterator
from itertools import repeat
from typing import Any

from torch import nn


class SharedBlocks(nn.ModuleList):
    """A list of blocks that are all the same one (ALBERT): it is trained, saved and copied once, as the first."""

    def __init__(self, block: nn.Module, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.add_module("0", block)

    def __len__(self) -> int:
        return self.depth

    def __iter__(self) -> Iterator[nn.Module]:
        return repeat(self.get_submodule("0"), self.depth)

    def __getitem__(self, index: Any) -> Any:
        block, places = self.get_submodule("0"), range(self.depth)[index]
        return SharedBlocks(block, len(places)) if isinstance(places, range) else block
