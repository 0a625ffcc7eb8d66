"""Small products on PyTorch's threads: one each, not one for all."""

import os
from concurrent.futures import ThreadPoolExecutor

import torch

# More rows than this occupy all threads at once as well as they can
# (measured: two threads on one product of 128 rows reach 130 GFLOP/s, on one
# of 512 rows 220, each on a product of its own 210).
LARGE = 384
# Fewer rows than this in all are done before another thread has woken up.
FEW = 256
# Several for each thread, so that none waits long for the last one.
PARTS_PER_THREAD = 4


def side_by_side(product, groups):
    """Call `product(group, rows)` for each group, several at a time.

    Large groups take all threads, one after another; the small ones are
    shared out. A product must write to its own memory only. Groups of very
    different sizes and of any number keep all threads busy.

    Args:
        product: function of a group and its slice of the rows.
        groups: list of such pairs.

    Example:

    >>> seen = set()
    >>> def product(group, rows):
    ...     seen.add((group, rows.stop - rows.start))
    >>> side_by_side(product, [(0, slice(0, 3)), (2, slice(3, 1000))])
    >>> sorted(seen)
    [(0, 3), (2, 997)]
    """
    small = []
    for group, rows in groups:
        if rows.stop - rows.start >= LARGE:
            product(group, rows)
        else:
            small.append((group, rows))
    num_threads = torch.get_num_threads()
    num_rows = sum(rows.stop - rows.start for _, rows in small)
    if num_threads == 1 or num_rows < FEW:
        return _run(product, small)
    step = -(-len(small) // (num_threads * PARTS_PER_THREAD))
    parts = [small[i : i + step] for i in range(0, len(small), step)]
    done = [_pool(num_threads).submit(_run, product, part) for part in parts]
    for each in done:
        each.result()


def _run(product, groups):
    # Neither gradients nor inference mode come along to another thread.
    with torch.inference_mode():
        for group, rows in groups:
            product(group, rows)


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool(num_threads):
    if num_threads not in _pools:
        _pools[num_threads] = ThreadPoolExecutor(
            num_threads, "grouped_matmul", initializer=_use_one_thread
        )
    return _pools[num_threads]


def _use_one_thread():
    torch.set_num_threads(1)


# A forked process has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)
