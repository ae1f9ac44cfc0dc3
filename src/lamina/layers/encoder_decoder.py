"""EncoderDecoder: a source is read as a whole, then a target is told frame by frame."""

from __future__ import annotations

from torch import Tensor

from lamina.core import Layer, NotStreamable, Seq, State, StreamSpec

__all__ = ["EncoderDecoder"]


class EncoderDecoder(Layer):
    """y = decoder(x, memory=encoder(source)) (Sutskever et al. 2014, arXiv:1409.3215; Cho et al. 2014).

    forward(x, memory=source): the target's frames x [B,T,D] and the source's [B,S,d_memory] -> [B,T,D]. It does not
    stream, for the source must be whole; the decoder does:

        state = model.decoder.init_state(B, memory=model.encoder(source))
        y, state = model.decoder.step(x, state)
    """

    takes_memory = True

    def __init__(self, encoder: Layer, decoder: Layer) -> None:
        super().__init__()
        if not decoder.takes_memory or decoder.d_memory != encoder.d_out:
            reads = decoder.d_memory if decoder.takes_memory else "no memory"
            raise ValueError(f"EncoderDecoder: the encoder gives width {encoder.d_out}, the decoder reads {reads}")
        self.encoder, self.decoder = encoder, decoder
        self.d_in, self.d_out, self.d_memory = decoder.d_in, decoder.d_out, encoder.d_in

    def stream_spec(self) -> StreamSpec:
        whole = "it must have read the whole source before the first word is told; the decoder alone streams"
        raise NotStreamable(whole, "encoder")

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        self.stream_spec()
        return {}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        if memory is None:
            raise TypeError("EncoderDecoder: it reads a source; call forward(x, memory=source)")
        return self.decoder(x, self.encoder(memory))

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        self.stream_spec()
        return x, state

    def frames(self, n: int) -> int:
        return n
