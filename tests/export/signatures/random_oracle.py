"""Hash and draw once more, in NumPy's uint32, uint64 and float64."""

import numpy as np


def murmur_hash(key, seed):
    """MurmurHash3_x86_32 of one uint32, after the published C++."""
    key, seed = np.uint64(key), np.uint64(seed)
    h = seed ^ times(rotate(times(key, 0xCC9E2D51), 15), 0x1B873593)
    h = times(rotate(h, 13), 5) + np.uint64(0xE6546B64) & np.uint64(0xFFFFFFFF)
    h ^= np.uint64(4)
    h ^= h >> np.uint64(16)
    h = times(h, 0x85EBCA6B)
    h ^= h >> np.uint64(13)
    h = times(h, 0xC2B2AE35)
    return int(h ^ (h >> np.uint64(16)))


def times(x, factor):
    return x * np.uint64(factor) & np.uint64(0xFFFFFFFF)


def rotate(x, places):
    shifted = x << np.uint64(places) & np.uint64(0xFFFFFFFF)
    return shifted | (x >> np.uint64(32 - places))


def uniform(seed, position):
    bits = murmur_hash(position % 2**32, seed % 2**32) >> 9
    return (bits + 0.5) / 2**23


def choose_token(logits, temperature, top_k, top_p, seed, position):
    """Choose one row's token; also how far the draw is from another one."""
    logits = np.asarray(logits, "float64")
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if not temperature > 0:
        return order[0], logits[order[0]] - logits[order[1]]
    order = order[: top_k if top_k > 0 else len(order)]
    probs = np.exp((logits[order] - logits[order[0]]) / temperature)
    probs = probs / probs.sum()
    margin = np.inf
    if 0 < top_p < 1:
        total, kept = 0.0, 0
        while total < top_p:
            total += probs[kept]
            kept += 1
        margin = min(total - top_p, top_p - (total - probs[kept - 1]))
        order, probs = order[:kept], probs[:kept]
    edges = np.cumsum(probs) / probs.sum()
    number = uniform(seed, position)
    drawn = int(np.sum(edges <= number))
    if len(edges) > 1:
        margin = min(margin, np.abs(edges[:-1] - number).min())
    return order[drawn], margin
