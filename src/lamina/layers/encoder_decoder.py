"""EncoderDecoder: a source is read as a whole, then a target is told frame by frame."""

from __future__ import annotations

from lamina.core import Layer, Seq, Whole

__all__ = ["EncoderDecoder"]


class EncoderDecoder(Whole):
    """y = decoder(x, memory=encoder(source)) (Sutskever et al. 2014, arXiv:1409.3215; Cho et al. 2014).

    forward(x, memory=source): the target's frames x [B,T,D] and the source's [B,S,d_memory] -> [B,T,D]. It does not
    stream, for the source must be whole; the decoder does:

        state = model.decoder.init_state(B, memory=model.encoder(source))
        y, state = model.decoder.step(x, state)
    """

    takes_memory = True
    whole = ("it must have read the whole source before the first word is told; the decoder alone streams", "encoder")

    def __init__(self, encoder: Layer, decoder: Layer) -> None:
        super().__init__()
        if not decoder.takes_memory or decoder.d_memory != encoder.d_out:
            reads = decoder.d_memory if decoder.takes_memory else "no memory"
            raise ValueError(f"EncoderDecoder: the encoder gives width {encoder.d_out}, the decoder reads {reads}")
        self.encoder, self.decoder = encoder, decoder
        self.d_in, self.d_out, self.d_memory = decoder.d_in, decoder.d_out, encoder.d_in

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        if memory is None:
            raise TypeError("EncoderDecoder: it reads a source; call forward(x, memory=source)")
        return self.decoder(x, self.encoder(memory))
