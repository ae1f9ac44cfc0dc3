"""The prefix beam search's inner loop: a tree of hypotheses in arrays, frame after frame.

A node of the tree is a prefix: a label behind its parent's. `live` holds the nodes that are hypotheses, the likeliest
first; the others are there for their descendants. Masses are probabilities over that of the likeliest hypothesis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lamina.speech.decode.compiled import compiled
from lamina.speech.decode.fusion_kernels import close, extend

__all__ = ["Beam", "best", "first", "search", "trace"]

# columns of nodes
PARENT, LABEL, FIRST, NEXT, FRAME, PLACE_IN_BEAM, CONTEXT, PLACE = range(8)
CONFIDENCE, GAIN = range(2)  # columns of reals; gain: the factor that the fusion gives a node over its parent
# of at: hypotheses, the committed prefix, the first free node, how many there are, frames, the last final label's
COUNT, ROOT, FREE, SPARE, TIME, LAST = range(6)
BLANK_END, LABEL_END = range(2)  # columns of mass: ends in the blank, ends in the label
KEPT, FREED = -1, -2  # places in the beam of what has none: a node that leads to hypotheses, a free one
CLASSES = 64  # that a frame's hypotheses are extended by, or more where the beam is wider: the likeliest


class Beam(NamedTuple):
    """Hypotheses: nodes int32 [N,8], reals float64 [N,2], live int32 [beam], mass float64 [beam,2], at int64 [6]."""

    nodes: np.ndarray
    reals: np.ndarray
    live: np.ndarray
    mass: np.ndarray
    at: np.ndarray


@compiled
def _likeliest(row, order):
    """The labels of the largest values, the first the largest: filled into order."""
    many, n = len(order), 0
    for label in range(1, len(row)):
        value = row[label]
        if n == many and value <= row[order[n - 1]]:
            continue
        i = n if n < many else n - 1
        while i > 0 and row[order[i - 1]] < value:
            order[i] = order[i - 1]
            i -= 1
        order[i] = label
        n = min(n + 1, many)


@compiled
def _insert(scores, chosen, n, score, what):
    """Puts a candidate where it belongs among the n best so far; gives how many there are then."""
    many = len(scores)
    i = n if n < many else many - 1
    while i > 0 and scores[i - 1] < score:
        scores[i] = scores[i - 1]
        chosen[i] = chosen[i - 1]
        i -= 1
    scores[i], chosen[i] = score, what
    return min(n + 1, many)


@compiled
def _stay(beam, p, blank, rank, taken, stayed):
    """Every hypothesis as it is, one frame on: by a blank, by its last label again, and by what its parent becomes.

    blank'(l) = (blank(l) + label(l)) p(blank)
    label'(l) = label(l) p(l's last) + (blank(parent) + [their last labels differ] label(parent)) p(l's last)
    """
    nodes, reals, live, mass, at = beam
    for j in range(at[COUNT]):
        node = live[j]
        label = nodes[node, LABEL]
        stayed[j, BLANK_END] = (mass[j, BLANK_END] + mass[j, LABEL_END]) * blank
        stayed[j, LABEL_END] = mass[j, LABEL_END] * p[label]
        parent = nodes[node, PARENT]
        i = nodes[parent, PLACE_IN_BEAM] if parent >= 0 else -1
        if i < 0:
            continue
        enter = mass[i, BLANK_END]
        if nodes[parent, LABEL] != label:
            enter += mass[i, LABEL_END]
        enter *= p[label] * reals[node, GAIN]
        if enter > stayed[j, BLANK_END] + stayed[j, LABEL_END]:  # likelier heard now than in all frames before
            nodes[node, FRAME], reals[node, CONFIDENCE] = at[TIME], p[label]
        stayed[j, LABEL_END] += enter
        if rank[label] >= 0:
            taken[i, rank[label]] = True


@compiled
def _choose(beam, tables, p, order, most, taken, stayed, scores, chosen):
    """The likeliest candidates: j for hypothesis j as it is, -1 - (i * classes + r) for i and the r-th label behind it.

    Hypotheses and labels are sorted, so that a row of candidates ends with the first that is too small.
    """
    nodes, live, mass, at = beam.nodes, beam.live, beam.mass, beam.at
    n = 0
    many, classes = len(scores), len(order)
    for j in range(at[COUNT]):
        score = stayed[j, BLANK_END] + stayed[j, LABEL_END]
        if score > 0.0 and (n < many or score > scores[many - 1]):
            n = _insert(scores, chosen, n, score, j)
    for i in range(at[COUNT]):
        total = mass[i, BLANK_END] + mass[i, LABEL_END]
        last = nodes[live[i], LABEL]
        least = scores[many - 1] if n == many else 0.0
        if total * p[order[0]] * most <= least:
            break
        for r in range(classes):
            label = order[r]
            score = total * p[label]
            if score * most <= least:
                break
            if taken[i, r]:
                continue
            if label == last:
                score = mass[i, BLANK_END] * p[label]
            if tables.level:
                score *= np.exp(extend(tables, nodes[live[i], CONTEXT], nodes[live[i], PLACE], label)[0])
            if score > least:
                n = _insert(scores, chosen, n, score, -1 - (i * classes + r))
                least = scores[many - 1] if n == many else 0.0
    return n


@compiled
def _prune(beam, node):
    """Frees a node that is no hypothesis and has no child, and then its parent if that is such a node."""
    nodes, at = beam.nodes, beam.at
    while node != at[ROOT] and nodes[node, PLACE_IN_BEAM] == KEPT and nodes[node, FIRST] < 0:
        parent = nodes[node, PARENT]
        one = nodes[parent, FIRST]
        if one == node:
            nodes[parent, FIRST] = nodes[node, NEXT]
        else:
            while nodes[one, NEXT] != node:
                one = nodes[one, NEXT]
            nodes[one, NEXT] = nodes[node, NEXT]
        nodes[node, NEXT], nodes[node, PLACE_IN_BEAM] = at[FREE], FREED
        at[FREE] = node
        at[SPARE] += 1
        node = parent


@compiled
def _grown(beam, tables, parent, label, p):
    """The node of that label behind the parent: it is there if it has descendants among the hypotheses."""
    nodes, reals, at = beam.nodes, beam.reals, beam.at
    node = nodes[parent, FIRST]
    while node >= 0 and nodes[node, LABEL] != label:
        node = nodes[node, NEXT]
    if node < 0:
        node = at[FREE]
        at[FREE] = nodes[node, NEXT]
        at[SPARE] -= 1
        nodes[node, PARENT], nodes[node, LABEL] = parent, label
        nodes[node, FIRST], nodes[node, NEXT] = -1, nodes[parent, FIRST]
        nodes[parent, FIRST] = node
        reals[node, GAIN] = 1.0
        if tables.level:
            gain, context, place = extend(tables, nodes[parent, CONTEXT], nodes[parent, PLACE], label)
            reals[node, GAIN] = np.exp(gain)
            nodes[node, CONTEXT], nodes[node, PLACE] = context, place
    nodes[node, FRAME], reals[node, CONFIDENCE] = at[TIME], p
    return node


@compiled
def _renew(beam, tables, p, order, stayed, scores, chosen, n):
    """The chosen candidates become the hypotheses; what no longer leads to one is freed."""
    nodes, live, mass, at = beam.nodes, beam.live, beam.mass, beam.at
    old, classes = live[: at[COUNT]].copy(), len(order)
    for node in old:
        nodes[node, PLACE_IN_BEAM] = KEPT
    scale = 1.0 / scores[0]
    for k in range(n):
        what = chosen[k]
        if what >= 0:
            node = old[what]
            mass[k, BLANK_END], mass[k, LABEL_END] = stayed[what, BLANK_END] * scale, stayed[what, LABEL_END] * scale
        else:
            i, r = divmod(-1 - what, classes)
            node = _grown(beam, tables, old[i], order[r], p[order[r]])
            mass[k, BLANK_END], mass[k, LABEL_END] = 0.0, scores[k] * scale
        live[k] = node
        nodes[node, PLACE_IN_BEAM] = k
    at[COUNT] = n
    for node in old:
        _prune(beam, node)


@compiled
def _commit(beam, final, heard, n):
    """While all hypotheses go on with the same label, that label is final and leaves the tree."""
    nodes, reals, at = beam.nodes, beam.reals, beam.at
    root = at[ROOT]
    while nodes[root, PLACE_IN_BEAM] < 0 and nodes[nodes[root, FIRST], NEXT] < 0:
        child = nodes[root, FIRST]
        at[LAST] = max(at[LAST], nodes[child, FRAME])  # the likeliest frames may cross where two are nearly as likely
        final[n, 0], final[n, 1], heard[n] = nodes[child, LABEL], at[LAST], reals[child, CONFIDENCE]
        n += 1
        nodes[root, NEXT], nodes[root, PLACE_IN_BEAM] = at[FREE], FREED
        at[FREE] = root
        at[SPARE] += 1
        nodes[child, PARENT] = -1
        root = child
    at[ROOT] = root
    return n


@compiled
def _branch(nodes, node, root):
    """The child of the root on the way to a node; the root itself for the root."""
    while node != root and nodes[node, PARENT] != root:
        node = nodes[node, PARENT]
    return node


@compiled
def _decide(beam, branch):
    """Only hypotheses of one branch of the root stay; of the root itself: it alone."""
    nodes, live, mass, at = beam.nodes, beam.live, beam.mass, beam.at
    old, n = live[: at[COUNT]].copy(), 0
    for k in range(len(old)):
        node = old[k]
        if _branch(nodes, node, at[ROOT]) == branch:
            live[n], mass[n, BLANK_END], mass[n, LABEL_END] = node, mass[k, BLANK_END], mass[k, LABEL_END]
            nodes[node, PLACE_IN_BEAM] = n
            n += 1
        else:
            nodes[node, PLACE_IN_BEAM] = KEPT
    at[COUNT] = n
    for node in old:
        _prune(beam, node)


@compiled
def _settle(beam, wait, final, heard, n):
    """What is final now: the common prefix, what waited too long, and what keeps the tree from growing on."""
    nodes, at = beam.nodes, beam.at
    while True:
        n = _commit(beam, final, heard, n)
        full = at[SPARE] < len(beam.live)
        branch = _branch(nodes, beam.live[0], at[ROOT])
        waited = branch != at[ROOT] and nodes[branch, FRAME] + wait <= at[TIME]
        if not full and not waited:
            return n
        _decide(beam, branch)


@compiled
def search(beam, tables, log_p, wait, final, heard):
    """Goes on with log_p [T,n_out]. Fills final [*,2] with labels and frames and heard [*] with their probabilities;
    gives how many there are, or -1 - t where frame t left no hypothesis.
    """
    nodes, live, at = beam.nodes, beam.live, beam.at
    many, n_out, n = len(live), log_p.shape[1], 0
    order = np.zeros(min(n_out - 1, max(CLASSES, many + 1)), np.int64)
    rank, p = np.full(n_out, -1, np.int64), np.zeros(n_out)
    taken, stayed = np.zeros((many, len(order)), np.bool_), np.zeros((many, 2))
    scores, chosen = np.zeros(many), np.zeros(many, np.int64)
    most = np.exp(tables.most)
    for t in range(len(log_p)):
        row = log_p[t]
        _likeliest(row, order)
        taken[:] = False
        for r in range(len(order)):
            rank[order[r]], p[order[r]] = r, np.exp(row[order[r]])
        for j in range(at[COUNT]):
            label = nodes[live[j], LABEL]
            p[label] = np.exp(row[label])
        _stay(beam, p, np.exp(row[0]), rank, taken, stayed)
        found = _choose(beam, tables, p, order, most, taken, stayed, scores, chosen)
        if found == 0:
            return -1 - t
        _renew(beam, tables, p, order, stayed, scores, chosen, found)
        at[TIME] += 1
        n = _settle(beam, wait, final, heard, n)
        for r in range(len(order)):
            rank[order[r]] = -1
    return n


@compiled
def best(beam, tables):
    """The likeliest hypothesis if the utterance ends here."""
    nodes, _, live, mass, at = beam
    node, most = live[0], -np.inf
    for k in range(at[COUNT]):
        score = np.log(mass[k, BLANK_END] + mass[k, LABEL_END])
        if tables.level:
            score += close(tables, nodes[live[k], CONTEXT], nodes[live[k], PLACE])
        if score > most:
            node, most = live[k], score
    return node


@compiled
def first(beam):
    """The first frame that a node behind the committed prefix names, or the one to come."""
    nodes, at = beam.nodes, beam.at
    frame = at[TIME]
    for node in range(len(nodes)):
        if nodes[node, PLACE_IN_BEAM] != FREED and node != at[ROOT]:
            frame = min(frame, nodes[node, FRAME])
    return frame


@compiled
def trace(beam, node, final, heard):
    """Labels, frames and probabilities from the committed prefix to a node, filled in; gives how many there are."""
    nodes, reals, at = beam.nodes, beam.reals, beam.at
    n, one = 0, node
    while one != at[ROOT]:
        n, one = n + 1, nodes[one, PARENT]
    i = n
    while node != at[ROOT]:
        i -= 1
        final[i, 0], final[i, 1], heard[i] = nodes[node, LABEL], nodes[node, FRAME], reals[node, CONFIDENCE]
        node = nodes[node, PARENT]
    least = at[LAST]
    for i in range(n):
        least = max(least, final[i, 1])
        final[i, 1] = least
    return n
