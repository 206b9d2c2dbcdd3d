"""Learn-forget feed-forward: gates choose what a row forgets and what it takes in."""

from jaxtyping import Float
from torch import Tensor

from eat.modules.block import Block


class LearnForgetBlock(Block):
    """A block with BEExformer's selective learn-forget network in the place of the feed-forward (arXiv:2412.05225).

    A reconstruction: the paper's abstract names the network, its equations were not at hand. With x the rows after the
    attention's norm,

        f = sigmoid(W_f x + b_f), l = sigmoid(W_l x + b_l), c = tanh(W_c x + b_c), y = LN(f * x + l * c),

    where W_f, W_l and W_c are stacked in ``inner``, and there is no ``outer``: 3 d^2 weights, where a feed-forward of
    width 4 d has 8 d^2. Dropout acts on l * c.
    """

    def feed_forward(self, rows: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
        """Return the rows after the gates, normalised."""
        forget, learn, candidate = self.inner(rows).chunk(3, dim=-1)
        return self.outer_norm(forget.sigmoid() * rows + self._dropped(learn.sigmoid() * candidate.tanh()))
