"""Train V-MoE on handwritten digits, and give its experts less and less room.

    KERAS_BACKEND=torch python examples/train_vision_moe.py

scikit-learn's digits, 8 x 8 pixels, become 16 patches of 2 x 2 and a class
token. After training, each expert gets room for fewer patches than choose it.
Batch-prioritised routing (priority "score") leaves out the patches that the
router is least sure of; without it (priority "position"), those that come last
in the batch.
"""

import argparse

import keras
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from keras_moe.models import VisionMoEBackbone
from keras_moe.models import VisionMoEClassifier
from keras_moe.routing import Capacity

FACTORS = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)
PRIORITIES = ("score", "position")
NUM_TRAINING = 1200


def make_model(factor=None, priority="score"):
    """Make a model whose experts have this capacity outside training."""
    backbone = VisionMoEBackbone(
        image_shape=(8, 8, 1),
        patch_size=2,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
        num_experts=8,
        expert_layer_stride=1,
        routing_group="batch",
        router={"capacity": Capacity(1.05, factor, priority=priority)},
    )
    return VisionMoEClassifier(backbone, num_classes=10)


def train(digits, epochs, seed):
    """Return a trained model, and images and labels that it has not seen."""
    keras.utils.set_random_seed(seed)
    images = (digits.images / 8.0 - 1.0).astype("float32")[..., None]
    order = np.random.default_rng(seed).permutation(len(images))
    seen, unseen = order[:NUM_TRAINING], order[NUM_TRAINING:]
    model = make_model()
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    model.fit(
        images[seen],
        digits.target[seen],
        batch_size=100,
        epochs=epochs,
        shuffle=False,  # Drawn once, above.
        verbose=0,
    )
    return model, images[unseen], digits.target[unseen]


def accuracy(model, images, labels):
    logits = model.predict_on_batch(images)  # One group: all of them compete.
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def plot(accuracies, path):
    """Draw mean and range over the seeds; `accuracies` is (seeds, 2, 6)."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    names = ("batch-prioritised", "in the order of the batch")
    for index, name in enumerate(names):
        values = accuracies[:, index]
        axes.plot(FACTORS, values.mean(0), marker="o", label=name)
        axes.fill_between(FACTORS, values.min(0), values.max(0), alpha=0.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(FACTORS, [str(factor) for factor in FACTORS])
    axes.set_xlabel("capacity factor outside training")
    axes.set_ylabel("accuracy")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--plot", default="vision_moe.svg")
    arguments = parser.parse_args()

    digits = load_digits()
    narrow = [[make_model(f, name) for f in FACTORS] for name in PRIORITIES]
    accuracies = []
    for seed in range(arguments.seeds):
        model, images, labels = train(digits, arguments.epochs, seed)
        reached = accuracy(model, images, labels)
        print(f"seed {seed}: accuracy {reached:.3f} without a limit")
        weights = model.get_weights()
        for each in sum(narrow, []):
            each.set_weights(weights)
        accuracies.append(
            [[accuracy(each, images, labels) for each in row] for row in narrow]
        )
    accuracies = np.array(accuracies)
    print("capacity factor     " + "".join(f"{f:>15}" for f in FACTORS))
    for name, values in zip(PRIORITIES, accuracies.swapaxes(0, 1), strict=True):
        cells = zip(values.mean(0), values.std(0), strict=True)
        row = "".join(f"{mean:>8.3f} ± {std:.3f}" for mean, std in cells)
        print(f"priority {name:<11}{row}")
    plot(accuracies, arguments.plot)
    print(f"plot: {arguments.plot}")


if __name__ == "__main__":
    main()
