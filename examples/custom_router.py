"""Write a router of your own: here one that compares directions.

    KERAS_BACKEND=jax python examples/custom_router.py

A router derives from `keras_moe.layers.Router` and says in `route` which
experts a token sees; balancing, padding, capacity and precision are the base
class's. This one scores experts by the cosine between a projected token and an
embedding of the expert, which keeps large tokens from dominating (X-MoE, Chi
et al., 2022, https://arxiv.org/abs/2204.09179, equation 4).

The script trains it compiled and under rematerialization, saves it, loads it
again and exports it as a SavedModel.
"""

import argparse
import pathlib
import tempfile

import keras
import numpy as np
from keras import ops

from keras_moe.export import export_saved_model
from keras_moe.export import verify_saved_model
from keras_moe.layers import Router
from keras_moe.layers import SparseMoE
from keras_moe.routing import choose_top_k


@keras.saving.register_keras_serializable(package="examples")
class CosineRouter(Router):
    def __init__(self, num_experts, top_k=2, rank=8, temperature=0.3, **kwargs):
        super().__init__(num_experts, **kwargs)
        self.top_k = top_k
        self.rank = rank
        self.temperature = temperature

    def build(self, inputs_shape):
        self.projection = self.add_weight(
            name="projection", shape=(inputs_shape[-1], self.rank)
        )
        self.expert_embeddings = self.add_weight(
            name="expert_embeddings", shape=(self.num_experts, self.rank)
        )
        super().build(inputs_shape)

    def route(self, inputs, padding_mask=None, training=None):
        tokens = ops.normalize(ops.matmul(inputs, self.projection), axis=-1)
        experts = ops.normalize(self.expert_embeddings, axis=-1)
        cosine = ops.matmul(tokens, ops.transpose(experts))
        return choose_top_k(cosine / self.temperature, self.top_k)

    def get_config(self):
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "rank": self.rank,
            "temperature": self.temperature,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    # Eight clusters of tokens, each turned by a matrix of its own.
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 8, 4096)
    centers = 3.0 * rng.normal(size=(8, 16))
    inputs = centers[cluster] + 0.3 * rng.normal(size=(4096, 16))
    turns = rng.normal(size=(8, 16, 16)) / 4.0
    targets = np.einsum("th,thk->tk", inputs, turns[cluster])

    tokens = keras.Input((16,))
    with keras.RematScope(mode="full"):
        # Recomputes the experts in the backward pass; the router is kept.
        router = CosineRouter(8, top_k=1, balancing="load_balancing_loss")
        layer = SparseMoE(8, 32, router=router)
    model = keras.Model(tokens, keras.layers.Dense(16)(layer(tokens)))
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss="mse",
        # XLA on JAX and TensorFlow.
        jit_compile=keras.config.backend() != "torch",
    )
    model.fit(
        inputs, targets, batch_size=256, epochs=arguments.epochs, verbose=2
    )

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model.save(folder / "model.keras")
        loaded = keras.saving.load_model(folder / "model.keras")
        difference = np.max(
            np.abs(
                loaded.predict(inputs, verbose=0)
                - model.predict(inputs, verbose=0)
            )
        )
        print(f"loaded: largest difference {difference:.1e}")
        export_saved_model(model, folder / "saved_model")
        result = verify_saved_model(model, folder / "saved_model")
        print(f"exported: largest difference {result.largest_difference:.1e}")


if __name__ == "__main__":
    # Imported by its name, the router can be imported by the process that
    # writes the SavedModel as well.
    import custom_router

    custom_router.main()
