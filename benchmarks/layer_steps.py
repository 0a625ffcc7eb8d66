"""One step of a layer, compiled where the backend compiles."""

import keras
from keras import ops


def forward_step(layer, tokens, training, routing_inputs):
    """Return a function that runs a layer and waits for its outputs.

    Args:
        layer: built `SparseMoE`.
        tokens: float tensor of shape (1, T, H).
        training: bool.
        routing_inputs: dict, what the router wants besides.

    Returns:
        function without arguments.
    """
    backend = keras.config.backend()
    arguments = {"training": training, **routing_inputs}
    if backend == "jax":
        import jax

        @jax.jit
        def call(trainable, rest, tokens):
            return layer.stateless_call(trainable, rest, tokens, **arguments)[0]

        state = _values(layer)
        return lambda: jax.block_until_ready(call(*state, tokens))
    if backend == "tensorflow":
        import tensorflow as tf

        call = tf.function(lambda x: layer(x, **arguments))
        return lambda: call(tokens).numpy()

    import torch

    def run():
        with torch.no_grad():
            layer(tokens, **arguments)
        _wait(tokens)

    return run


def gradient_step(layer, tokens):
    """Return a function that computes all gradients of a training step.

    They are those of the outputs' mean square and the balancing losses. State
    moves as well: the step returns it.

    Args:
        layer: built `SparseMoE`.
        tokens: float tensor of shape (1, T, H).

    Returns:
        function without arguments.
    """
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        def loss_and_state(trainable, tokens, rest):
            outputs, rest, losses = layer.stateless_call(
                trainable, rest, tokens, training=True, return_losses=True
            )
            return _loss(outputs, losses), rest

        step = jax.jit(
            jax.value_and_grad(loss_and_state, argnums=(0, 1), has_aux=True)
        )
        trainable, rest = _values(layer)
        return lambda: jax.block_until_ready(step(trainable, tokens, rest))
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def gradients(tokens):
            with tf.GradientTape() as tape:
                tape.watch(tokens)
                loss = _loss(layer(tokens, training=True), layer.losses)
            return tape.gradient(loss, [tokens, *layer.trainable_variables])

        return lambda: gradients(tokens)[0].numpy()

    tokens = tokens.detach().requires_grad_()

    def run():
        layer.zero_grad(set_to_none=True)
        tokens.grad = None
        _loss(layer(tokens, training=True), layer.losses).backward()
        _wait(tokens)

    return run


def _loss(outputs, losses):
    return ops.mean(ops.square(outputs)) + sum(losses)


def _values(layer):
    return (
        [each.value for each in layer.trainable_variables],
        [each.value for each in layer.non_trainable_variables],
    )


def _wait(tokens):
    if tokens.is_cuda:
        import torch

        torch.cuda.synchronize()
