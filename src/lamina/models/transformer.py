"""Transformer: Attention Is All You Need (Vaswani et al. 2017), with a bounded window so that it streams."""

from __future__ import annotations

from lamina.models.model import Knob, Model
from lamina.models.stack import ResidualStack, residual_stack, with_mixer

__all__ = ["TRANSFORMER"]

TRANSFORMER = Model(
    name="transformer",
    paper="Attention Is All You Need (Vaswani et al.)",
    year=2017,
    family="attention",
    view="sequence",
    config_of=with_mixer(ResidualStack, "window_attention", "transformer"),
    build=residual_stack,
    knobs=(Knob("d_model", 8, 8), Knob("d_ff", 8)),
    idea="Every frame looks up what it needs in other frames, all in parallel; depth refines what is looked up.",
    equations=(
        "attention(x)_t = W_o sum_s softmax_s(q_t . k_s / sqrt(K)) v_s,  t - left <= s <= t + right\n"
        "x <- x + attention(norm(x)),  x <- x + W_2 gelu(W_1 norm(x))    (norm=pre; post: norms behind the sums)"
    ),
    use="Relations between far frames matter, and there is memory for a cache of left + right frames a layer.",
    avoid="State must be small or steps must be cheap. left=None (all of the past) does not stream.",
    references=(
        "Vaswani et al. 2017, arXiv:1706.03762",
        "Su et al. 2021, arXiv:2104.09864 (rotary positions)",
        "Xiong et al. 2020, arXiv:2002.04745 (norms before)",
    ),
)
