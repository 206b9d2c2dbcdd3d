"""Compiled blocks beside plain ones: ``python -m tests.reference.compiled cpu`` fails where they differ.

A process of its own, because the type checks that run beside tests cannot be compiled.
"""

import sys

import torch

from tests.reference.tiny import batch_of, tiny_adaptive

LENGTHS = [5, 17, 64, 200]


def main(device: str) -> None:
    model = tiny_adaptive(max_length=200, pruner={"name": "l2_norm", "depths": [1], "ratio": 0.3}).to(device)
    batches = [[part.to(device) for part in batch_of(lengths)] for lengths in ([5], [17], [64], [200], LENGTHS)]
    with torch.inference_mode():
        expected = [model(*batch, trace=True).all_logits for batch in batches]
        model.compile_blocks()
        outputs = [model(*batch, trace=True).all_logits for batch in batches]
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    if not 2 <= graphs <= 4:
        raise AssertionError(f"expected project and finish to be compiled at most twice each, got {graphs} graphs")
    for output, before in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, before, rtol=1e-5, atol=1e-5)
    if torch.equal(torch.cat(outputs), torch.cat(expected)):
        raise AssertionError("expected rounding to differ somewhere: was anything compiled?")


if __name__ == "__main__":
    main(sys.argv[1])
