"""On a CUDA device the fast paths equal the groups, forwards and backwards."""

import pytest
import torch

from eat.attention.full import FullAttention
from eat.attention.paths import Path, choose_path, device_support
from eat.attention.windowed import WindowedAttention
from eat.packed import Packed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # what the compiler warns of is not ours
]
HEADS, HEAD_DIM, SEP = 2, 32, 4
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}
RAGGED = [300, 20, 3, 11, 1, 130]


def packed(lengths, *, holes=0.0, sep=False):
    """A batch on the device in which a share of the tokens other than the first has been pruned away."""
    generator = torch.Generator().manual_seed(0)
    positions, ids, host_lengths = [], [], []
    for length in lengths:
        stays = torch.rand(length, generator=generator) >= holes
        stays[0] = True
        columns = stays.nonzero()[:, 0]
        positions.append(columns)
        ids.append(torch.full((len(columns),), 9))
        if sep:
            ids[-1][-1] = SEP
        host_lengths.append(len(columns))
    rows = torch.zeros(sum(host_lengths), 1)
    return Packed.start(
        rows.cuda(),
        torch.cat(ids).cuda(),
        torch.cat(positions).cuda(),
        host_lengths,
        contiguous=not holes,
        protected_id=SEP if sep else None,
    )


def assert_equals_groups(attention, state, dtype, path):
    """Compare with the groups in float32, fed with the same rounded numbers."""
    generator = torch.Generator("cuda").manual_seed(0)
    shape = (state.rows.shape[0], 3, HEADS, HEAD_DIM)
    qkv = torch.randn(shape, generator=generator, device="cuda").to(dtype).requires_grad_()
    reference = qkv.detach().float().requires_grad_()
    chosen = choose_path(
        device_support(qkv.device),
        dtype=dtype,
        head_dim=HEAD_DIM,
        lengths=state.host_lengths,
        windowed=attention.reach(state) is not None,
    )
    assert chosen is path
    mixed, _ = attention(qkv, state, dropout=0.0, received=False)
    expected, _ = attention._grouped(reference, state.uncached(), dropout=0.0, received=False)
    torch.testing.assert_close(mixed.float(), expected, rtol=0, atol=TOLERANCE[dtype])
    weight = torch.randn(mixed.shape, generator=generator, device="cuda")
    (mixed.float() * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(qkv.grad.float(), reference.grad, rtol=0, atol=3 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_flash_on_ragged_batches(dtype, holes):
    assert_equals_groups(FullAttention(), packed(RAGGED, holes=holes), dtype, Path.VARLEN)


def test_flash_where_the_window_covers_everything():
    state = packed([30, 7, 12])
    assert_equals_groups(WindowedAttention(window=60), state, torch.bfloat16, Path.VARLEN)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [RAGGED, [600], [20, 30], [128, 128]])
@pytest.mark.parametrize("holes", [0.0, 0.1])
@pytest.mark.parametrize("sep", [False, True])
def test_flex_attention(dtype, lengths, holes, sep):
    state = packed(lengths, holes=holes, sep=sep)
    assert_equals_groups(WindowedAttention(window=16, global_tokens=("cls", "sep")), state, dtype, Path.FLEX)


def test_flex_attention_in_inference_mode():
    state = packed(RAGGED)
    qkv = torch.randn(state.rows.shape[0], 3, HEADS, HEAD_DIM, device="cuda")
    attention = WindowedAttention(window=16)
    with torch.inference_mode():
        mixed, _ = attention(qkv, state, dropout=0.0, received=False)
        expected, _ = attention._grouped(qkv, state.uncached(), dropout=0.0, received=False)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=TOLERANCE[torch.float32])


def test_dropout_and_received_stay_with_the_groups():
    state = packed(RAGGED)
    qkv = torch.randn(state.rows.shape[0], 3, HEADS, HEAD_DIM, device="cuda", dtype=torch.bfloat16)
    for attention in (FullAttention(), WindowedAttention(window=16)):
        _, received = attention(qkv, state, dropout=0.0, received=True)
        torch.testing.assert_close(received.sum().item(), float(sum(RAGGED)), rtol=1e-3, atol=0)
        dropped, _ = attention(qkv, state, dropout=0.5, received=False)
        kept, _ = attention(qkv, state, dropout=0.0, received=False)
        assert not torch.allclose(dropped, kept)


def test_one_compilation_serves_many_lengths():
    """Past torch's limit of recompilations FlexAttention would run uncompiled and hold the scores of all pairs."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    attention = WindowedAttention(window=16)
    with torch.inference_mode():
        for length in (*range(140, 1400, 97), 128, 256, 512, 20, 40):
            state = packed([length, 30])
            qkv = torch.randn(state.rows.shape[0], 3, HEADS, HEAD_DIM, device="cuda", dtype=torch.bfloat16)
            attention(qkv, state, dropout=0.0, received=False)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 6
