"""What a language model and hot words add to a hypothesis, on arrays (see `fusion.Tables`)."""

from __future__ import annotations

from lamina.speech.decode.compiled import compiled
from lamina.speech.decode.fusion import BY_LABEL, BY_WORD, START, STRANGE

__all__ = ["close", "extend", "score"]


@compiled
def _child(first, keys, node, key):
    """The place in `keys` of that key among a node's children, sorted; -1 where it has none such."""
    low, high = first[node], first[node + 1]
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < first[node + 1] and keys[low] == key else -1


@compiled
def score(g, context, word):
    """ln p(word | context), and the context behind the word: back off until a context knows the word."""
    total = 0.0
    while True:
        found = _child(g.first, g.word, context, word)
        if found >= 0:
            return total + g.log_p[found + 1], found + 1
        if context == 0:
            return total + g.unknown, 0
        total += g.backoff[context]
        context = g.suffix[context]


@compiled
def _said(t, context, place):
    """What the end of a word adds, and the context behind it."""
    gain, word = t.beta, -1
    if place >= 0:
        word = t.spelled[place]
        gain += t.hot_whole[place] - t.hot_part[place]
    if t.level == BY_WORD:
        log_p, context = score(t.grams, context, word if word >= 0 else t.strange)
        gain += t.alpha * log_p
    return gain, context


@compiled
def extend(t, context, place, label):
    """A hypothesis with one more label: what that adds to its log-probability, and its new context and place.

    context: the node of the language model; place: the node of the tree of words that the letters since the last
    beginning of a word lead to, STRANGE where they lead out of it, START where there are none.
    """
    gain = 0.0
    if t.level == BY_LABEL:
        log_p, context = score(t.grams, context, t.token[label])
        gain += t.alpha * log_p + t.beta
    if t.begins[label]:
        if place != START and t.level != BY_LABEL:
            more, context = _said(t, context, place)
            gain += more
        elif place > 0:
            gain += t.hot_whole[place] - t.hot_part[place]
        place = START
    for i in range(t.letters[label], t.letters[label + 1]):
        if place == STRANGE:
            break
        found = _child(t.branch, t.letter, place, t.code[i])
        now = found + 1 if found >= 0 else STRANGE
        gain += (t.hot_part[now] if now >= 0 else 0.0) - t.hot_part[place]
        place = now
    return gain, context, place


@compiled
def close(t, context, place):
    """What the end of the utterance adds: the last word's end, and the sentence's."""
    gain = 0.0
    if place != START and t.level != BY_LABEL:
        gain, context = _said(t, context, place)
    elif place > 0:
        gain = t.hot_whole[place] - t.hot_part[place]
    if t.level == BY_WORD or t.level == BY_LABEL:
        gain += t.alpha * score(t.grams, context, t.ending)[0]
    return gain
