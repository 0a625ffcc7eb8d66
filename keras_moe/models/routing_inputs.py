"""What the routers of a model's blocks want besides the inputs."""

import keras

from keras_moe.blocks.feed_forward_part import taken_by


def routing_inputs_of(
    blocks, token_ids, replayed_layers=None, routed_experts=None
):
    """Pick for each block what its routers want.

    Args:
        blocks: list of blocks.
        token_ids: int32 tensor of shape (B, L).
        replayed_layers: optional `ReplayedLayers` of these blocks.
        routed_experts: optional int32 tensor of shape (B, L, layers, K).

    Returns:
        list of dict, call arguments of each block.
    """
    picked = [taken_by(block, {"token_ids": token_ids}) for block in blocks]
    if replayed_layers is not None and routed_experts is not None:
        replaying = [picked[index] for index in _replaying(blocks)]
        parts = replayed_layers(routed_experts)
        for given, part in zip(replaying, parts, strict=True):
            given["expert_indices"] = part
    return picked


def make_replayed_layers(blocks, name="replayed_layers"):
    """Make the layer that parts routed experts for blocks.

    Args:
        blocks: list of blocks.
        name: str, of the layer.

    Returns:
        `ReplayedLayers`; `None` if no router replays.
    """
    num_layers = len(_replaying(blocks))
    return ReplayedLayers(num_layers, name=name) if num_layers else None


def sequence_inputs(prefix="", replayed_layers=None):
    """Make the symbolic inputs of one sequence.

    Args:
        prefix: str, what their names begin with.
        replayed_layers: optional `ReplayedLayers`, which want another.

    Returns:
        dict of `keras.KerasTensor`: token ids and padding mask (B, L), and
        routed experts (B, L, layers, K) if they are wanted.
    """
    ranks = {"token_ids": 1, "padding_mask": 1}
    if replayed_layers is not None:
        ranks["routed_experts"] = 3
    return {
        f"{prefix}{name}": keras.Input(
            (None,) * rank, dtype="int32", name=f"{prefix}{name}"
        )
        for name, rank in ranks.items()
    }


def _replaying(blocks):
    return [
        index
        for index, block in enumerate(blocks)
        if "expert_indices" in block.routing_inputs
    ]


class ReplayedLayers(keras.layers.Layer):
    """Parts a model's routed experts into those of each sparse layer.

    Args:
        num_layers: int, the model's sparse layers that replay.

    Call arguments:
        routed_experts: int32 tensor of shape (B, L, layers, K).

    Returns:
        List of int32 tensors of shape (B, L, K).

    Raises:
        ValueError: If there are choices for another number of layers.

    Example:

    >>> import numpy as np
    >>> parts = ReplayedLayers(3)(np.zeros((2, 5, 3, 2), "int32"))
    >>> len(parts), tuple(parts[0].shape)
    (3, (2, 5, 2))
    """

    def __init__(self, num_layers, **kwargs):
        super().__init__(**kwargs)
        self.num_layers = num_layers

    def call(self, routed_experts):
        if routed_experts.shape[2] not in (None, self.num_layers):
            raise ValueError(
                "Expected `routed_experts` of shape (B, L, "
                f"{self.num_layers}, K), for the model's {self.num_layers} "
                f"sparse layers. Received: shape {tuple(routed_experts.shape)}."
                " Give back what was recorded of a model with as many."
            )
        return [routed_experts[:, :, i] for i in range(self.num_layers)]

    def compute_output_spec(self, routed_experts):
        batch, length, _, top_k = routed_experts.shape
        return [
            keras.KerasTensor((batch, length, top_k), "int32")
            for _ in range(self.num_layers)
        ]

    def get_config(self):
        return {**super().get_config(), "num_layers": self.num_layers}
