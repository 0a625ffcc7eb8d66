"""How many devices a token visits, and what it sends them: counted.

    python benchmarks/visits.py

Processes of PyTorch share 64 experts, of which a token has 8, and run one
dropless layer. The rows and bytes that they really send are compared with
NumPy's choice among the same scores: of any experts, and of those of the best
groups, where the experts of a process are a group (DeepSeek-V3). Bytes are
those to other processes, there and back; a backward pass sends as many. Prints
a Markdown table.
"""

import argparse
import os
import tempfile
from pathlib import Path

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "torch"

import torch

# ruff: isort: split
import keras
import numpy as np
from torch import distributed

from keras_moe.distribution import ExpertParallel
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import ExpertGroups

TOP_K = 8
COLUMNS = (
    *("groups of a token", "devices it visits", "by NumPy"),
    *("KB it sends", "a row for each expert: KB"),
)


def choose(scores, num_groups, num_limited):
    """Choose as DeepSeek-V3 does, with NumPy: (T, E) -> bool (T, E)."""
    groups = scores.reshape(len(scores), num_groups, -1).copy()
    best_two = np.sort(groups)[..., -2:].sum(axis=-1)
    best = np.sort(best_two)[:, -num_limited, None]
    groups[best_two < best] = 0.0
    limited = groups.reshape(scores.shape)
    return limited >= np.sort(limited)[:, -TOP_K, None]


class Counter:
    """Sends in place of `all_to_all_single`, and counts."""

    def __init__(self):
        self.rows, self.bytes = [], 0
        self._send = distributed.all_to_all_single

    def __call__(self, arrived, leaving, arrive, leave, group):
        rank, size = distributed.get_rank(), distributed.get_world_size()
        splits = [1] * size if leave is None else leave
        self.bytes += (sum(splits) - splits[rank]) * leaving[:1].nbytes
        if leave is not None:
            self.rows.append(sum(leave))
        return self._send(arrived, leaving, arrive, leave, group)


def count(num_limited, sizes):
    """Run the layer; return devices and kilobytes of a token, and expected."""
    rank = distributed.get_rank()
    keras.utils.set_random_seed(0)
    groups = ExpertGroups(sizes.processes, num_limited, score="top2_sum")
    router = TopKRouter(
        sizes.experts, TOP_K, score_function="sigmoid", expert_groups=groups
    )
    layer = SparseMoE(sizes.experts, 8, router=router)
    shape = (1, sizes.tokens, sizes.hidden_dim)
    layer.build(shape)
    tokens = np.random.default_rng(rank).normal(size=shape).astype("float32")
    distributed.all_to_all_single = counter = Counter()
    with torch.no_grad():
        layer(torch.from_numpy(tokens))
    distributed.all_to_all_single = counter._send
    kernel = layer.router.get_weights()[0]
    scores = 1 / (1 + np.exp(-(tokens[0] @ kernel)))
    chosen = choose(scores, sizes.processes, num_limited)
    chosen = chosen.reshape(sizes.tokens, sizes.processes, -1)
    elsewhere = chosen.sum() - chosen[:, rank].sum()
    row = 2 * tokens[0, 0].nbytes / 1e3  # There and back.
    found = counter.rows[0], chosen.any(axis=-1).sum()
    found = torch.tensor([*found, counter.bytes / 1e3, elsewhere * row])
    distributed.all_reduce(found)
    return (found / (sizes.tokens * sizes.processes)).tolist()


def work(rank, sizes, folder):
    """Count as one of the processes; the first one writes the table."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=sizes.processes,
    )
    distribution = ExpertParallel(expert=sizes.processes)
    keras.distribution.set_distribution(distribution)
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    for num_limited in sizes.groups:
        found = count(num_limited, sizes)
        name = f"{num_limited} of {sizes.processes}"
        lines.append([name, *(f"{number:.2f}" for number in found)])
    if rank == 0:
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        Path(folder, "table.md").write_text(table + "\n")
    distributed.destroy_process_group()


def table(sizes):
    """Return a Markdown table, counted by as many processes as are asked."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (sizes, folder), sizes.processes)
        return Path(folder, "table.md").read_text()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument(
        "--groups", type=int, nargs="*", default=[8, 4, 2], help="of a token"
    )
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=512, help="of a process")
    parser.add_argument("--hidden-dim", type=int, default=1024)
    print(table(parser.parse_args()), end="")
