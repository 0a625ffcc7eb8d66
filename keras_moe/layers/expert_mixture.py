"""The mixture of 1991: what every expert says, and how much it counts."""

import keras
from keras import ops

from keras_moe.experts.grouped_dense import GroupedDense
from keras_moe.layers.check_parts import check_num_experts
from keras_moe.layers.check_parts import check_router
from keras_moe.layers.routers.mixture_router import MixtureRouter
from keras_moe.layers.sublayers import build_sublayer
from keras_moe.layers.sublayers import revive_sublayers
from keras_moe.layers.sublayers import serialize_sublayer
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class ExpertMixture(keras.layers.Layer):
    """Returns each expert's output and the logarithm of its weight.

    The outputs are not summed, so that a loss can compare each with the
    target: `keras_moe.losses.MixtureNegativeLogLikelihood`, under which
    experts specialize, or `BlendError`, under which they cooperate. Use
    `keras_moe.losses.blend` for their average. Each expert is a dense layer.

    Args:
        num_experts: int E.
        units: int D, width of an expert's output.
        activation: name or function, of the experts. Defaults to none.
        router: optional `keras_moe.layers.Router` with scores, whose softmax
            gives the weights. `None` means `MixtureRouter(num_experts)`.

    Call arguments:
        inputs: float tensor of shape (..., H), rank 2 or more.
        padding_mask: optional bool tensor of shape (...), True = real token.
        training: bool.

    Returns:
        float32 tensor of shape (..., E, D + 1): the outputs, and last the
        logarithm of the weight.

    Weights: `router.kernel` (H, E), `experts.kernel` (E, H, D) and
    `experts.bias` (E, D).

    Raises:
        ValueError: If a size is not positive, or the router does not fit.

    Example:

    >>> import numpy as np
    >>> layer = ExpertMixture(num_experts=4, units=1)
    >>> mixture = layer(np.ones((3, 2), "float32"))
    >>> tuple(mixture.shape)
    (3, 4, 2)

    References:
        Jacobs, Jordan, Nowlan and Hinton, 1991, "Adaptive mixtures of local
        experts", Neural Computation 3, 79-87.
    """

    @plain_numbers
    def __init__(
        self, num_experts, units, activation=None, *, router=None, **kwargs
    ):
        super().__init__(**kwargs)
        check_router(router, capacity=None)
        self.num_experts = num_experts
        self.units = units
        self.activation = keras.activations.get(activation)
        self.router = router or MixtureRouter(num_experts, name="router")
        self.experts = GroupedDense(
            num_experts,
            units,
            use_bias=True,
            dtype=self.dtype_policy,
            name="experts",
        )
        check_num_experts(num_experts, self.router, self.experts)
        self.supports_masking = True

    def build(self, inputs_shape):
        build_sublayer(self.router, inputs_shape)
        build_sublayer(self.experts, (None, inputs_shape[-1]))

    def call(self, inputs, padding_mask=None, training=None):
        plan = self.router(inputs, padding_mask=padding_mask, training=training)
        leading = ops.shape(inputs)[:-1]
        rows = ops.reshape(inputs, (1, -1, inputs.shape[-1]))
        rows = ops.repeat(rows, self.num_experts, axis=0)
        outputs = self.activation(self.experts(rows))  # (E, T, D)
        outputs = ops.reshape(
            ops.transpose(outputs, (1, 0, 2)),
            (*leading, self.num_experts, self.units),
        )
        logits = plan.scores.logits
        log_weights = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
        outputs = ops.cast(outputs, "float32")
        return ops.concatenate([outputs, log_weights[..., None]], axis=-1)

    def compute_output_shape(self, inputs_shape):
        return (*inputs_shape[:-1], self.num_experts, self.units + 1)

    def compute_output_spec(self, inputs, *args, **kwargs):
        return keras.KerasTensor(
            self.compute_output_shape(inputs.shape), "float32"
        )

    def get_config(self):
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "router": serialize_sublayer(self.router),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**revive_sublayers(config, "router"))
