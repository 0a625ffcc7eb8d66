"""What devices hold and send each other as experts and devices grow.

    python benchmarks/mesh.py                      # 8 to 64 virtual devices
    python benchmarks/mesh.py --devices 8 --hidden-dim 256
    python benchmarks/mesh.py --decoder            # a whole one, on 8 devices

Compiles the training step of one sparse layer on JAX, with as many experts as
devices and as many tokens on each; nothing is allocated or run. A collective
counts the bytes of its results on one device. Three ways to divide the layer:
XLA's partitioner alone, with a capacity; ours with the same capacity; ours
dropless, as it is on CPU, where all tokens go to all devices. `--decoder`
compiles that of a small Mixtral in the three ways that `shard` can be. Prints a
Markdown table, in kilobytes of one device.
"""

import argparse
import os

if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = (
        f"{flags} --xla_force_host_platform_device_count=64"
    )

import keras

from keras_moe.distribution import ExpertParallel
from keras_moe.distribution.shard_rules import SHARDS
from keras_moe.layers import SparseMoE
from keras_moe.models import MixtralBackbone
from keras_moe.ops.backend import load
from keras_moe.planning.collectives import count_collectives
from keras_moe.planning.hlo import read_computations
from keras_moe.planning.training_step import compile_training_step
from keras_moe.routing import Capacity

COLUMNS = (
    *("devices", "way", "weights and slots", "temporary"),
    *("all-to-all", "all-gather", "reduce-scatter", "all-reduce"),
)


class PartitionerAlone(ExpertParallel):
    """Divides weights and batch alike, and leaves the rest to XLA."""

    data_axes = ()


WAYS = {
    "partitioner, capacity 1.25": (PartitionerAlone, Capacity(factor=1.25)),
    "ours, capacity 1.25": (ExpertParallel, Capacity(factor=1.25)),
    "ours, dropless": (ExpertParallel, None),
}


def measure(make_distribution, capacity, num_devices, sizes):
    """Compile a training step; return numbers of bytes by column."""
    devices = keras.distribution.list_devices()[:num_devices]
    distribution = make_distribution(expert=num_devices, devices=devices)
    shape = (sizes.rows, sizes.tokens, sizes.hidden_dim)

    def make():
        with distribution.scope():
            inputs = keras.Input(shape[1:])
            # A token has two experts.
            num_experts = max(num_devices, 2)
            layer = SparseMoE(
                num_experts, sizes.intermediate_dim, capacity=capacity
            )
            model = keras.Model(inputs, layer(inputs))
            model.compile("adam", "mse")
            model.optimizer.build(model.trainable_variables)
            return model

    ahead_of_time = load("ahead_of_time")
    model = ahead_of_time.make_abstract(make)
    batch = keras.KerasTensor((num_devices * shape[0], *shape[1:]), "float32")
    program = ahead_of_time.compile_lowered(
        ahead_of_time.lower_training_step(model, batch, batch, distribution)
    )
    return bytes_of(program)


def measure_decoder(shard, num_devices, sizes):
    """Compile a decoder's training step; return numbers of bytes by column."""
    program = compile_training_step(
        MixtralBackbone,
        {
            "vocabulary_size": 32 * sizes.hidden_dim,
            "num_layers": 2,
            "num_query_heads": 8,
            "num_key_value_heads": 4,
            "hidden_dim": sizes.hidden_dim,
            "intermediate_dim": sizes.intermediate_dim,
            "num_experts": 8,
            "router": {"capacity": Capacity(factor=1.25)},
        },
        ExpertParallel(
            expert=min(num_devices, 4),
            devices=keras.distribution.list_devices()[:num_devices],
            shard=shard,
        ),
        num_devices * sizes.rows,
        sizes.tokens,
        "adam",
    )
    return bytes_of(program)


def bytes_of(program):
    """Return a program's numbers of bytes by column."""
    traffic = count_collectives(read_computations(program.text))
    return {
        "weights and slots": program.in_place,
        "temporary": program.temporary,
        **{kind: found.bytes for kind, found in traffic.items()},
    }


def table(numbers, sizes):
    """Return a Markdown table of all ways on so many devices."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    for num_devices in numbers:
        for way, (make_distribution, capacity) in WAYS.items():
            found = measure(make_distribution, capacity, num_devices, sizes)
            lines.append([num_devices, way, *in_kilobytes(found)])
    return markdown(lines)


def decoder_table(num_devices, sizes):
    """Return a Markdown table of the ways to split a decoder's weights."""
    columns = ("shard", *COLUMNS[2:])
    lines = [columns, ["---"] * len(columns)]
    for shard in SHARDS:
        found = measure_decoder(shard, num_devices, sizes)
        lines.append([repr(shard), *in_kilobytes(found)])
    return markdown(lines)


def in_kilobytes(found):
    """Return the columns of numbers of bytes."""
    return [f"{found.get(name, 0) / 1e3:,.0f}" for name in COLUMNS[2:]]


def markdown(lines):
    """Return the lines of a table, each a list of cells."""
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--devices", type=int, nargs="*", default=[8, 16, 32, 64]
    )
    parser.add_argument("--decoder", action="store_true")
    parser.add_argument("--rows", type=int, default=2, help="of each device")
    parser.add_argument("--tokens", type=int, default=128, help="of a row")
    parser.add_argument("--hidden-dim", type=int, default=64)
    parser.add_argument("--intermediate-dim", type=int, default=256)
    arguments = parser.parse_args()
    if arguments.decoder:
        print(decoder_table(8, arguments))
    else:
        print(table(arguments.devices, arguments))
