"""Show the heads under the name by which peft finds what a sequence classifier trains and saves beside its adapters.

For ``task_type=SEQ_CLS`` peft looks through ``named_modules(remove_duplicate=False)`` for names that end in
"classifier" or "score", and puts a wrapper with a trainable copy in the module's place. Our heads are
``encoder.heads`` in every saved model; here they have a second name, under which they can be read and replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

ALIAS = "classifier"


class HeadsByAlias(nn.Module):
    """A model whose ``encoder.heads`` are also its ``classifier``; parameters and saved weights have their one name."""

    encoder: Any

    @property
    def classifier(self) -> nn.Module:
        """All heads, or what wraps them."""
        return self.encoder.heads

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Yield every module with its name; with duplicates also the heads under their second name."""
        yield from super().named_modules(memo, prefix, remove_duplicate)
        if not remove_duplicate:
            yield f"{prefix}.{ALIAS}" if prefix else ALIAS, self.classifier

    def __setattr__(self, name: str, value: Any) -> None:
        if name != ALIAS:
            super().__setattr__(name, value)
        else:  # nn.Module would register a second module, which nothing runs
            _take_out_adapters(value)
            self.encoder.heads = value


def _take_out_adapters(module: nn.Module) -> None:
    """Put the layers themselves where adapters wrap them: what is trained whole has none, or merging would miss them.

    peft leaves adapters out of modules that it trains whole, but by their first name, which it does not look for here.
    """
    child: Any
    for name, child in module.named_children():
        if hasattr(child, "get_base_layer"):  # an adapter around a layer
            setattr(module, name, child.get_base_layer())
        elif name.isdecimal() and hasattr(child, "original_module"):  # one head that was named, trained whole
            setattr(module, name, child.original_module)
        else:
            _take_out_adapters(child)
