"""Put experts between two LSTM layers, and compare with LSTMs alone.

    KERAS_BACKEND=jax python examples/recurrent_moe.py

The language model of Shazeer et al., 2017 (https://arxiv.org/abs/1701.06538,
appendix C.1), small: embedding, LSTM, experts, LSTM, softmax. The experts see
each time step by itself; noisy top-k gating chooses 4 of them, and importance
and load losses of weight 0.1 keep all busy. Their output goes through a
sigmoid. Every layer but the last has a dropout and a residual connection.

Two of the paper's baselines cost as much per token: `4xLSTM` has two more LSTM
layers in place of the experts, `MoE-1-Wide` one layer as wide as 4 experts. All
read the same bytes of Python's standard library in the same order.
"""

import argparse

import keras
import numpy as np

from keras_moe.balancing import ImportanceLoss
from keras_moe.balancing import LoadLoss
from keras_moe.cli.text import VOCABULARY_SIZE
from keras_moe.cli.text import read_text
from keras_moe.cli.text import windows
from keras_moe.layers import NoisyTopKRouter
from keras_moe.layers import SparseMoE
from keras_moe.models.parameter_counts import count_variables

# Each model's best learning rate of 0.005, 0.01, 0.02, 0.04 and 0.08, with one
# seed and 300 steps.
LEARNING_RATES = {"MoE": 0.02, "4xLSTM": 0.08, "MoE-1-Wide": 0.02}
TOP_K = 4
BATCH_SIZE = 64
LENGTH = 32


def add_lstm(x, dropout):
    """Add an LSTM layer; its input is added to its output."""
    lstm = keras.layers.LSTM(x.shape[-1], return_sequences=True)
    return x + keras.layers.Dropout(dropout)(lstm(x))


def add_experts(x, dropout, num_experts):
    """Add experts, which see each time step by itself."""
    router = NoisyTopKRouter(
        num_experts, TOP_K, balancing=[ImportanceLoss(0.1), LoadLoss(0.1)]
    )
    experts = SparseMoE(
        num_experts,
        intermediate_dim=2 * x.shape[-1],
        router=router,
        activation="relu",
        gated=False,
    )
    outputs = keras.ops.sigmoid(experts(x))
    return x + keras.layers.Dropout(dropout)(outputs)


def add_wide(x, dropout):
    """Add one expert, as wide as those that a token meets."""
    width = TOP_K * 2 * x.shape[-1]
    hidden = keras.layers.Dense(width, "relu", use_bias=False)(x)
    hidden = keras.layers.Dense(x.shape[-1], use_bias=False)(hidden)
    outputs = keras.ops.sigmoid(hidden)
    return x + keras.layers.Dropout(dropout)(outputs)


def make_model(middle, hidden_dim, num_experts, dropout=0.0):
    """Make a model from token ids to logits of the next one.

    Args:
        middle: what is between the LSTM layers: `"MoE"`, `"4xLSTM"` or
            `"MoE-1-Wide"`.
        hidden_dim: int H, of every layer.
        num_experts: int E.
        dropout: float.

    Returns:
        `keras.Model`, int32 (B, L) to float32 (B, L, V).
    """
    token_ids = keras.Input((None,), dtype="int32")
    embedding = keras.layers.Embedding(VOCABULARY_SIZE, hidden_dim)
    x = keras.layers.Dropout(dropout)(embedding(token_ids))
    x = add_lstm(x, dropout)
    if middle == "MoE":
        x = add_experts(x, dropout, num_experts)
    elif middle == "4xLSTM":
        x = add_lstm(add_lstm(x, dropout), dropout)
    else:
        x = add_wide(x, dropout)
    x = add_lstm(x, dropout)
    logits = keras.layers.Dense(VOCABULARY_SIZE, dtype="float32")(x)
    return keras.Model(token_ids, logits)


def train(model, data, held_out, reports, learning_rate):
    """Train once over the data; return the held-out loss at each report."""
    steps = len(data[0]) // BATCH_SIZE
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        steps,
        warmup_target=learning_rate,
        warmup_steps=max(1, steps // 10),
    )
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            keras.metrics.SparseCategoricalCrossentropy(
                from_logits=True, name="nats"
            )
        ],
    )
    losses = []
    for part in np.array_split(np.arange(steps), reports):
        rows = slice(part[0] * BATCH_SIZE, (part[-1] + 1) * BATCH_SIZE)
        history = model.fit(
            data[0][rows],
            data[1][rows],
            batch_size=BATCH_SIZE,
            shuffle=False,
            validation_data=held_out,
            validation_batch_size=BATCH_SIZE,
            verbose=0,
        )
        # Without the balancing losses.
        losses += history.history["val_nats"]
    return losses


def plot(curves, tokens, path):
    """Draw mean and range over the seeds; `curves` are (seeds, reports)."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("For a plot: pip install 'keras-moe[visualization]'")
        return
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, losses in curves.items():
        axes.plot(tokens, losses.mean(0), marker="o", markersize=3, label=name)
        axes.fill_between(tokens, losses.min(0), losses.max(0), alpha=0.2)
    axes.set_xlabel("bytes read, in millions")
    axes.set_ylabel("held-out loss, nats per byte")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
    print(f"plot: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--hidden-dim", type=int, default=64)
    parser.add_argument("--num-experts", type=int, default=16)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--plot", default="recurrent_moe.svg")
    arguments = parser.parse_args()

    text, held_out_text = read_text()
    inputs, labels = windows(held_out_text, 8 * BATCH_SIZE, LENGTH, seed=0)
    held_out = inputs["token_ids"], labels
    reports = min(10, arguments.steps)
    curves = {name: [] for name in LEARNING_RATES}
    for seed in range(arguments.seeds):
        inputs, labels = windows(
            text, arguments.steps * BATCH_SIZE, LENGTH, seed=seed + 1
        )
        for name, losses in curves.items():
            keras.utils.set_random_seed(seed)
            model = make_model(
                name,
                arguments.hidden_dim,
                arguments.num_experts,
                arguments.dropout,
            )
            if seed == 0:
                embeddings = model.layers[1].embeddings
                counts = count_variables(model, looked_up=[embeddings])
                print(
                    f"{name}: {counts.total:,} parameters, "
                    f"{counts.flops_per_token // 2:,} multiply-adds per byte"
                )
            data = inputs["token_ids"], labels
            rate = LEARNING_RATES[name]
            losses.append(train(model, data, held_out, reports, rate))
            print(f"seed {seed}, {name}: {losses[-1][-1]:.3f} nats per byte")
    curves = {name: np.array(losses) for name, losses in curves.items()}
    for name, losses in curves.items():
        mean, spread = losses[:, -1].mean(), losses[:, -1].std()
        print(f"{name}: held-out loss {mean:.3f} ± {spread:.3f} nats per byte")
    each = arguments.steps * BATCH_SIZE * LENGTH / reports / 1e6
    plot(curves, each * np.arange(1, reports + 1), arguments.plot)


if __name__ == "__main__":
    main()
