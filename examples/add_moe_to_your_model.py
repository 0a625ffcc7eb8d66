"""Put a SparseMoE into a functional model of your own.

    KERAS_BACKEND=jax python examples/add_moe_to_your_model.py

Images of handwritten digits (scikit-learn's, 8 x 8 pixels): each row of
pixels is a token, each token goes to 2 of 8 experts.
"""

import argparse

import keras
from keras import layers
from sklearn.datasets import load_digits

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.callbacks import RoutingMonitor
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter


def make_model():
    inputs = keras.Input((8, 8))
    x = layers.Dense(32)(inputs)
    attended = layers.MultiHeadAttention(num_heads=4, key_dim=8)(x, x)
    x = layers.LayerNormalization()(x + attended)
    # A router of your own settings; SparseMoE(8, 64) alone does as well.
    balancing = [LoadBalancingLoss(0.02), RouterZLoss(0.001)]
    router = TopKRouter(8, top_k=2, balancing=balancing)
    x = x + SparseMoE(num_experts=8, intermediate_dim=64, router=router)(x)
    x = layers.Flatten()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")
    model = make_model()
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        images[:1500],
        digits.target[:1500],
        validation_data=(images[1500:], digits.target[1500:]),
        epochs=arguments.epochs,
        verbose=2,
        callbacks=[RoutingMonitor()],
    )


if __name__ == "__main__":
    main()
