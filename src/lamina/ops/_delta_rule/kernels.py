"""The delta rule on a CPU: a tile of the state stays in the nearest cache while the frames pass, once through it each.

With the error e_t = v_t - S^T k_t (S decayed) and the write u_t = beta_t e_t, and with their gradients' like
du_t = dS^T k_t and w_t = beta_t du_t, two kernels serve the op and its gradients:

    forwards    S  <- a S + write u^T          o  = S^T read,   and what the next frame's `next` finds
        o, e    write k, read q,  next k       columns u = beta (v - S^T k)             state S     [K,V]
        dq, z   write u, read do, next w       columns k                                state S^T   [V,K]
    backwards   dS <- a (dS - erase f^T) + add g^T          o = dS^T read
        du      erase k, add q,  read k        columns g = do, f = w = beta du          state dS    [K,V]
        dk + z  erase w, add do, read u        columns g = q,  f = k                    state dS^T  [V,K]
"""

from __future__ import annotations

from math import exp

from numba import njit

from lamina.ops._native import CHUNK, WIDE
from lamina.ops._native.kernel import Kernel, arrays, claim, numbers, registers, scratch
from lamina.ops._native.simd import fma, lanes, load, splat, store, total, zeros
from lamina.ops._native.tile import give_tile, place, read_vectors, take_tile, vectors_for, write_vectors

__all__ = ["backwards", "forwards"]


@njit(inline="always")
def _ask(tile, rows, asked, at, answer, vectors):
    """answer = sum over the rows of asked s."""
    one = lanes(tile)
    for j in range(vectors):
        store(answer, j * one, zeros(tile))
    for r in range(rows):
        k = splat(asked[at + r])
        for j in range(vectors):
            store(answer, j * one, fma(k, load(tile, (r * vectors + j) * one), load(answer, j * one)))


@njit(inline="always")
def _forward(own, tile, rows, fade, write, u, read, out, following, answer, vectors):
    """s <- fade s + write u,  out = sum of read s,  answer = sum of following s.

    The sums are in registers of its own: `vectors` is a constant here, and an array that anybody indexes by a variable
    would stay in memory.
    """
    one = lanes(tile)
    us, outs, answers = own
    for j in range(vectors):
        store(us, j * one, load(u, j * one))
        store(outs, j * one, zeros(tile))
        store(answers, j * one, zeros(tile))
    a = splat(fade)
    for r in range(rows):
        w, q, k = splat(write[r]), splat(read[r]), splat(following[r])
        for j in range(vectors):
            at = (r * vectors + j) * one
            s = fma(w, load(us, j * one), a * load(tile, at))
            store(tile, at, s)
            store(outs, j * one, fma(q, s, load(outs, j * one)))
            store(answers, j * one, fma(k, s, load(answers, j * one)))
    for j in range(vectors):
        store(out, j * one, load(outs, j * one))
        store(answer, j * one, load(answers, j * one))


@njit(inline="always")
def _backward(own, tile, rows, fade, erase, f, add, g, read, out, vectors):
    """s <- fade (s - erase f) + add g,  out = sum of read s."""
    one = lanes(tile)
    fs, gs, outs = own
    for j in range(vectors):
        store(fs, j * one, load(f, j * one))
        store(gs, j * one, load(g, j * one))
        store(outs, j * one, zeros(tile))
    a = splat(fade)
    for r in range(rows):
        e, q, k = splat(-erase[r]), splat(add[r]), splat(read[r])
        for j in range(vectors):
            at = (r * vectors + j) * one
            s = fma(q, load(gs, j * one), a * fma(e, load(fs, j * one), load(tile, at)))
            store(tile, at, s)
            store(outs, j * one, fma(k, s, load(outs, j * one)))
    for j in range(vectors):
        store(out, j * one, load(outs, j * one))


@njit
def _erased(tile, rows, erase, erase_at, f, vectors):
    """s <- s - erase f."""
    one = lanes(tile)
    for r in range(rows):
        e = splat(-erase[erase_at + r])
        for j in range(vectors):
            at = (r * vectors + j) * one
            store(tile, at, fma(e, load(f, j * one), load(tile, at)))


@njit
def _product(kept, kept_at, tile, rows, erase, erase_at, f, vectors):
    """The sum of kept * (s - erase f) over the whole tile, added up row by row in float64."""
    one = lanes(tile)
    found = 0.0
    for r in range(rows):
        e, part = splat(-erase[erase_at + r]), zeros(tile)
        for j in range(vectors):
            at = (r * vectors + j) * one
            part = fma(load(kept, kept_at + at), fma(e, load(f, j * one), load(tile, at)), part)
        found += total(part)
    return found


@Kernel
def forwards(call):
    """closed: the columns are v, and `answers` becomes the errors; else they are what is written, and `answers`
    becomes what `following` found. keep: the tile before every CHUNK frames goes to `kept`."""
    write, read, following, columns, beta, log_decay, begin, out, answers, end, kept = arrays(call, 11)
    batch, frames, heads, rows, width, closed, keep, state_row, state_column = numbers(call, 11, 9)
    write_b, write_t, write_h, read_b, read_t, read_h = numbers(call, 20, 6)
    next_b, next_t, next_h, columns_b, columns_t, columns_h = numbers(call, 26, 6)
    beta_b, beta_t, beta_h, decay_b, decay_t, decay_h = numbers(call, 32, 6)
    one = lanes(columns)
    vectors = vectors_for(width, one)
    wide = vectors * one
    tiles, chunks = (width + wide - 1) // wide, (frames + CHUNK - 1) // CHUNK
    tile = scratch(call, rows * wide)
    u, answer, found = registers(call, 3)
    own = registers(call, 3)
    task = claim(call)
    while task < batch * heads * tiles:
        stream, b, h, first, count = place(task, tiles, heads, wide, width)
        state_at = stream * rows * width + first * state_column
        take_tile(begin, state_at, state_row, state_column, rows, count, tile, wide)
        _ask(tile, rows, following, b * next_b + h * next_h, answer, vectors)
        for t in range(frames):
            if keep and t % CHUNK == 0:
                at = (task * chunks + t // CHUNK) * rows * wide
                for i in range(0, rows * wide, one):
                    store(kept, at + i, load(tile, i))
            fade = exp(log_decay[b * decay_b + t * decay_t + h * decay_h])
            strength = splat(beta[b * beta_b + t * beta_t + h * beta_h])
            columns_at = b * columns_b + t * columns_t + h * columns_h + first
            out_at = ((b * frames + t) * heads + h) * width + first
            read_vectors(columns, columns_at, count, u, vectors)
            for j in range(vectors):
                past = splat(fade) * load(answer, j * one)
                if closed:
                    error = load(u, j * one) - past
                    store(answer, j * one, error)
                    store(u, j * one, strength * error)
                else:
                    store(answer, j * one, past)
            write_vectors(answer, answers, out_at, count, vectors)
            writes, reads = (
                write[b * write_b + t * write_t + h * write_h :],
                read[b * read_b + t * read_t + h * read_h :],
            )
            nexts = following[b * next_b + min(t + 1, frames - 1) * next_t + h * next_h :]
            if vectors == WIDE:
                _forward(own, tile, rows, fade, writes, u, reads, found, nexts, answer, WIDE)
            elif vectors == 2:
                _forward(own, tile, rows, fade, writes, u, reads, found, nexts, answer, 2)
            else:
                _forward(own, tile, rows, fade, writes, u, reads, found, nexts, answer, 1)
            write_vectors(found, out, out_at, count, vectors)
        give_tile(tile, columns.dtype.type(1), end, state_at, state_row, state_column, rows, count, wide)
        task = claim(call)


@Kernel
def backwards(call):
    """closed: `f` becomes beta * out, frame by frame; else it is given. keep: the gradient of log_decay at the first
    frame of every CHUNK goes to `anchors`, from the tiles that the way forward has kept."""
    erase, add, read, g, f, beta, log_decay, begin, out, end, kept, anchors = arrays(call, 12)
    batch, frames, heads, rows, width, closed, keep, state_row, state_column = numbers(call, 12, 9)
    erase_b, erase_t, erase_h, add_b, add_t, add_h, read_b, read_t, read_h = numbers(call, 21, 9)
    g_b, g_t, g_h, f_b, f_t, f_h, beta_b, beta_t, beta_h = numbers(call, 30, 9)
    decay_b, decay_t, decay_h = numbers(call, 39, 3)
    one = lanes(g)
    vectors = vectors_for(width, one)
    wide = vectors * one
    tiles, chunks = (width + wide - 1) // wide, (frames + CHUNK - 1) // CHUNK
    tile = scratch(call, rows * wide)
    gs, fs, found = registers(call, 3)
    own = registers(call, 3)
    task = claim(call)
    while task < batch * heads * tiles:
        stream, b, h, first, count = place(task, tiles, heads, wide, width)
        state_at = stream * rows * width + first * state_column
        take_tile(begin, state_at, state_row, state_column, rows, count, tile, wide)
        for j in range(vectors):
            store(fs, j * one, zeros(g))
        fade = g.dtype.type(1)
        erase_at = b * erase_b + (frames - 1) * erase_t + h * erase_h
        for t in range(frames - 1, -1, -1):
            adds, reads = add[b * add_b + t * add_t + h * add_h :], read[b * read_b + t * read_t + h * read_h :]
            erased = erase[erase_at:]
            read_vectors(g, b * g_b + t * g_t + h * g_h + first, count, gs, vectors)
            if vectors == WIDE:
                _backward(own, tile, rows, fade, erased, fs, adds, gs, reads, found, WIDE)
            elif vectors == 2:
                _backward(own, tile, rows, fade, erased, fs, adds, gs, reads, found, 2)
            else:
                _backward(own, tile, rows, fade, erased, fs, adds, gs, reads, found, 1)
            write_vectors(found, out, ((b * frames + t) * heads + h) * width + first, count, vectors)
            f_at = b * f_b + t * f_t + h * f_h + first
            if closed:
                strength = splat(beta[b * beta_b + t * beta_t + h * beta_h])
                for j in range(vectors):
                    store(fs, j * one, strength * load(found, j * one))
                write_vectors(fs, f, f_at, count, vectors)
            else:
                read_vectors(f, f_at, count, fs, vectors)
            fade = exp(log_decay[b * decay_b + t * decay_t + h * decay_h])
            erase_at = b * erase_b + t * erase_t + h * erase_h
            if keep and t % CHUNK == 0:
                at = task * chunks + t // CHUNK
                anchors[at] = fade * _product(kept, at * rows * wide, tile, rows, erase, erase_at, fs, vectors)
        _erased(tile, rows, erase, erase_at, fs, vectors)
        give_tile(tile, fade, end, state_at, state_row, state_column, rows, count, wide)
        task = claim(call)
