"""Retention on a CPU: a tile of the state stays in the nearest cache while the frames pass.

One pass serves the op and its three gradients, which are retentions too, with the roles changed:

    o  = retention(read q,  write k,  values v)      forwards         state S      [K,V]
    dq = retention(read do, write v,  values k)      forwards         state S^T    [V,K]
    dv = retention(read k,  write q,  values do)     backwards        state dS     [K,V]
    dk = retention(read v,  write do, values q)      backwards        state dS^T   [V,K]
"""

from __future__ import annotations

from math import exp

from numba import njit

from lamina.ops._native import CHUNK, WIDE
from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, registers, scratch
from lamina.ops._native.simd import fma, lanes, load, splat, store, zeros
from lamina.ops._native.tile import dot, give_tile, place, read_vectors, take_tile, vectors_for, write_vectors

__all__ = ["retain"]


@njit(inline="always")
def _frame(tile, rows, decay, read, read_at, write, write_at, values, out, vectors):
    """s <- decay s + write value,  out = sum over the rows of read s."""
    one = lanes(tile)
    for j in range(vectors):
        store(out, j * one, zeros(tile))
    fade = splat(decay)
    for r in range(rows):
        w, q = splat(write[write_at + r]), splat(read[read_at + r])
        for j in range(vectors):
            at = (r * vectors + j) * one
            s = fma(w, load(values, j * one), fade * load(tile, at))
            store(tile, at, s)
            store(out, j * one, fma(q, s, load(out, j * one)))


@Kernel
def retain(call):
    """One pass. keep: 0 nothing; 1 the tile before every CHUNK frames goes to `kept`; 2 the sum of its products with
    the tile behind that frame goes to `anchors`: the gradient of the frame's log_decay."""
    read, write, values, log_decay, begin, out, end, kept, anchors = arrays(call, 9)
    batch, frames, heads, rows, columns, backwards, keep = numbers(call, 9, 7)
    read_b, read_t, read_h, write_b, write_t, write_h = numbers(call, 16, 6)
    values_b, values_t, values_h, decay_b, decay_t, decay_h = numbers(call, 22, 6)
    state_row, state_column = numbers(call, 28, 2)
    one = lanes(values)
    vectors = vectors_for(columns, one)
    wide = vectors * one
    tiles, chunks = (columns + wide - 1) // wide, (frames + CHUNK - 1) // CHUNK
    tile = scratch(call, rows * wide)
    value, found = registers(call, 2)
    unit = values.dtype.type(1)
    task = claim(call)
    while task < batch * heads * tiles:
        stream, b, h, first, count = place(task, tiles, heads, wide, columns)
        state_at = stream * rows * columns + first * state_column
        take_tile(begin, state_at, state_row, state_column, rows, count, tile, wide)
        fade = unit
        for step in range(frames):
            t = frames - 1 - step if backwards else step
            here = exp(log_decay[b * decay_b + t * decay_t + h * decay_h])
            if not backwards:
                fade = here
            kept_at = (task * chunks + t // CHUNK) * rows * wide
            if keep == 1 and t % CHUNK == 0:
                for i in range(0, rows * wide, one):
                    store(kept, kept_at + i, load(tile, i))
            read_at = b * read_b + t * read_t + h * read_h
            write_at = b * write_b + t * write_t + h * write_h
            values_at = b * values_b + t * values_t + h * values_h + first
            out_at = ((b * frames + t) * heads + h) * columns + first
            if vectors == WIDE:
                read_vectors(values, values_at, count, value, WIDE)
                _frame(tile, rows, fade, read, read_at, write, write_at, value, found, WIDE)
                write_vectors(found, out, out_at, count, WIDE)
            elif vectors == 2:
                read_vectors(values, values_at, count, value, 2)
                _frame(tile, rows, fade, read, read_at, write, write_at, value, found, 2)
                write_vectors(found, out, out_at, count, 2)
            else:
                read_vectors(values, values_at, count, value, 1)
                _frame(tile, rows, fade, read, read_at, write, write_at, value, found, 1)
                write_vectors(found, out, out_at, count, 1)
            if keep == 2 and t % CHUNK == 0:
                anchors[task * chunks + t // CHUNK] = here * dot(kept, kept_at, tile, 0, rows * wide, wide)
            if backwards:
                fade = here
        give_tile(tile, fade if backwards else unit, end, state_at, state_row, state_column, rows, count, wide)
        task = claim(call)
