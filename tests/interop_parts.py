"""What the tests of checkpoints share."""

import torch

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
