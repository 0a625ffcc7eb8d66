"""One layer, forward and backward: sparse, dense, every expert, a peer's.

The dense MLP is as wide as the K experts that a token meets: it does the
same active FLOPs, gated like they are, and is what a user would have had
instead.
"""

import keras
import numpy as np
from keras import ops

from contestants.contestant import Contestant
from keras_moe.layers import FeedForward
from keras_moe.layers import Router
from keras_moe.layers import SparseMoE
from keras_moe.routing import choose_top_k
from sizes import Sizes


def sparse_moe(sizes, num_tokens, dtype, load=None, implementation="auto"):
    sizes = Sizes(*sizes)
    router = None
    if load is not None:
        router = FixedRouter(load, sizes.num_experts, sizes.top_k)
    layer = SparseMoE(
        sizes.num_experts,
        sizes.intermediate_dim,
        sizes.top_k,
        router=router,
        implementation=implementation,
        dtype=dtype,
    )
    return _training_step(layer, sizes.hidden_dim, num_tokens, dtype)


def ragged_dot(sizes, num_tokens, dtype):
    return sparse_moe(sizes, num_tokens, dtype, implementation="ragged_dot")


def every_expert(sizes, num_tokens, dtype):
    sizes = Sizes(*sizes)
    layer = SparseMoE(
        sizes.num_experts,
        sizes.intermediate_dim,
        sizes.top_k,
        strategy="dense",
        dtype=dtype,
    )
    return _training_step(layer, sizes.hidden_dim, num_tokens, dtype)


def dense_mlp(sizes, num_tokens, dtype):
    sizes = Sizes(*sizes)
    layer = FeedForward(sizes.top_k * sizes.intermediate_dim, dtype=dtype)
    return _training_step(layer, sizes.hidden_dim, num_tokens, dtype)


def transformers_block(sizes, num_tokens, dtype):
    import torch
    from transformers import Qwen3MoeConfig
    from transformers.models.qwen3_moe.modeling_qwen3_moe import (
        Qwen3MoeSparseMoeBlock,
    )

    sizes = Sizes(*sizes)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch_dtype = getattr(torch, dtype)
    config = Qwen3MoeConfig(
        hidden_size=sizes.hidden_dim,
        moe_intermediate_size=sizes.intermediate_dim,
        num_experts=sizes.num_experts,
        num_experts_per_tok=sizes.top_k,
        norm_topk_prob=True,
        experts_implementation="grouped_mm",
    )
    with torch.device(device):
        block = Qwen3MoeSparseMoeBlock(config).to(torch_dtype)
        for parameter in block.parameters():
            torch.nn.init.normal_(parameter, std=sizes.hidden_dim**-0.5)
    parameters = list(block.parameters())
    inputs = torch.randn(1, num_tokens, sizes.hidden_dim).to(
        device, torch_dtype
    )

    def step():
        given = inputs.detach().requires_grad_()
        loss = (block(given).float() ** 2).mean()
        gradients = torch.autograd.grad(loss, [given, *parameters])
        if device == "cuda":
            torch.cuda.synchronize()
        return gradients

    size = sum(p.nbytes for p in parameters) + inputs.nbytes
    return Contestant(step, size)


class FixedRouter(Router):
    """Routes by position, not by content: `load` says how evenly.

    Args:
        load: `"balanced"`, `"zipf"` (expert e is chosen with a probability
            that falls as 1 / (e + 1)) or `"all_to_one"` (the same K experts
            for every token).
        num_experts: int E.
        top_k: int K.
    """

    def __init__(self, load, num_experts, top_k, **kwargs):
        super().__init__(num_experts, balancing=None, **kwargs)
        self.load, self.top_k = load, top_k

    def route(self, inputs, padding_mask=None, training=None):
        logits = self._logits(inputs.shape[0] * inputs.shape[1])
        logits = ops.reshape(logits, (*inputs.shape[:-1], self.num_experts))
        return choose_top_k(ops.convert_to_tensor(logits), self.top_k)

    def _logits(self, num_tokens):
        rng = np.random.default_rng(0)
        experts = np.arange(self.num_experts)
        if self.load == "balanced":
            first = self.top_k * np.arange(num_tokens)[:, None]
            distance = (experts - first) % self.num_experts
        elif self.load == "zipf":
            # The Gumbel trick: the K largest are K draws without return.
            noise = rng.gumbel(size=(num_tokens, self.num_experts))
            distance = np.log(experts + 1.0) - noise
        else:
            distance = np.tile(experts, (num_tokens, 1))
        return -distance.astype("float32")


def _training_step(layer, hidden_dim, num_tokens, dtype):
    """Build a layer and compile the gradients of weights and inputs."""
    layer.build((1, num_tokens, hidden_dim))
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1, num_tokens, hidden_dim))
    inputs = ops.cast(inputs.astype("float32"), dtype)
    step = _STEPS[keras.config.backend()](layer, inputs)
    variables = layer.trainable_variables
    size = ops.size(inputs) + sum(int(np.prod(v.shape)) for v in variables)
    return Contestant(step, int(size) * (4 if dtype == "float32" else 2))


def _jax_step(layer, inputs):
    import jax

    @jax.jit
    def gradients(trainable, non_trainable, inputs):
        def loss(trainable, inputs):
            outputs, _ = layer.stateless_call(trainable, non_trainable, inputs)
            return ops.mean(ops.cast(outputs, "float32") ** 2)

        return jax.grad(loss, argnums=(0, 1))(trainable, inputs)

    trainable = [v.value for v in layer.trainable_variables]
    non_trainable = [v.value for v in layer.non_trainable_variables]
    arguments = trainable, non_trainable, inputs
    compiled = gradients.lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))


def _torch_step(layer, inputs):
    import torch

    parameters = [v.value for v in layer.trainable_variables]

    def step():
        given = inputs.detach().requires_grad_()
        loss = (layer(given).float() ** 2).mean()
        gradients = torch.autograd.grad(loss, [given, *parameters])
        if inputs.is_cuda:
            torch.cuda.synchronize()
        return gradients

    return step


def _tensorflow_step(layer, inputs):
    import tensorflow as tf

    variables = [v.value for v in layer.trainable_variables]

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = tf.cast(layer(inputs), "float32")
            loss = tf.reduce_mean(outputs**2)
        return tape.gradient(loss, [inputs, *variables])

    traced = gradients.get_concrete_function()
    return lambda: traced()[0].numpy()


_STEPS = {
    "jax": _jax_step,
    "torch": _torch_step,
    "tensorflow": _tensorflow_step,
}
