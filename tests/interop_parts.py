"""What the tests of checkpoints share."""

import torch

from lamina import Seq, interop, run_steps, taps

LENGTHS = torch.tensor([20, 13, 7, 1])
MASK = torch.arange(20)[None] < LENGTHS[:, None]


def stirred(peer):
    """The peer with no weight at its start, so that a bias of zeros or a norm of ones hides nothing."""
    with torch.no_grad():
        for weight in peer.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return peer.eval()


def assert_near(got, want, mask=None):
    """Within 1e-5 of the output's scale, at real frames."""
    assert got.shape == want.shape
    got, want = (got, want) if mask is None else (got[mask], want[mask])
    assert float((got - want).abs().max()) <= 1e-5 * float(want.abs().max())


def assert_same(model, tokens, want, hidden, *sizes):
    """The model's output and its blocks' are the peer's, in one piece and in steps of each of the sizes."""
    x = Seq(tokens, MASK)
    with taps(model, interop.blocks(model)) as seen:
        y = model(x)
    assert_near(y.values, want, MASK)
    for ours, theirs in zip(seen.values(), hidden, strict=True):
        assert_near(ours.values, theirs, MASK)
    for size in ([1], *sizes):
        assert_near(run_steps(model, x, size).values, want, MASK)
