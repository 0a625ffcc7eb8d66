"""A NumPy rendering of the Switch Transformer, and small models to test.

Models compile once per test, in `predict_on_batch`, `train_on_batch` or
`generate`: eagerly, JAX would compile hundreds of operations one by one.
"""

import math

import numpy as np
import pytest
from keras import ops

from keras_moe.models.switch import SwitchBackbone

ARGUMENTS = {
    "vocabulary_size": 13,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "key_value_dim": 3,
    "intermediate_dim": 12,
    "num_experts": 4,
    "relative_attention_buckets": 8,
    "relative_attention_max_distance": 6,
    "dropout": 0.0,
}
# The smallest model with every part: one sparse block in each stack.
ONE_SPARSE_BLOCK_EACH = {
    "num_layers": 1,
    "num_decoder_layers": 1,
    "expert_layer_stride": 1,
}


@pytest.fixture(scope="session")
def create_backbone():
    """Return a function that builds a small backbone with random weights."""

    def create(one_sparse_block_each=True, randomize=True, **arguments):
        smallest = ONE_SPARSE_BLOCK_EACH if one_sparse_block_each else {}
        router = {"jitter_noise": 0.0, **arguments.pop("router", {})}
        backbone = SwitchBackbone(
            **{**ARGUMENTS, **smallest, **arguments}, router=router
        )
        if randomize:
            randomize_weights(backbone)
        return backbone

    return create


@pytest.fixture
def sequences():
    """Three rows, right padding, int inputs of both stacks."""
    rng = np.random.default_rng(7)

    def sequence(prefix, length, lengths):
        real = np.arange(length) < np.array(lengths)[:, None]
        token_ids = np.where(real, rng.integers(2, 13, real.shape), 0)
        return {
            f"{prefix}_token_ids": token_ids.astype("int32"),
            f"{prefix}_padding_mask": real.astype("int32"),
        }

    return {
        **sequence("encoder", 7, [7, 4, 6]),
        **sequence("decoder", 5, [5, 3, 4]),
    }


@pytest.fixture
def switch_oracle():
    return SwitchOracle


def randomize_weights(model, seed=3):
    """Move every weight, norms too, away from its initial value."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        values = rng.normal(size=variable.shape)
        if variable.path.endswith("scale"):
            values = 1.0 + 0.5 * np.tanh(values)
        elif "embedding" in variable.path:
            values = values * 1.0
        else:
            values = values * variable.shape[-2] ** -0.5
        variable.assign(values.astype("float32"))


class SwitchOracle:
    """Compute the model in float64, row by row, head by head, token by token.

    Args:
        backbone: `SwitchBackbone` whose weights to read.
        capacity_factor: optional float, or `None` for dropless.
        read: function from a variable to its values.
    """

    def __init__(self, backbone, capacity_factor, read=None):
        self.backbone = backbone
        self.capacity_factor = capacity_factor
        self.read = read or _float64
        self.num_dropped = 0

    def encode(self, token_ids, padding_mask):
        b = self.backbone
        mask = np.asarray(padding_mask, bool)
        x = self.read(b.token_embedding.embeddings)[token_ids]
        bias = self._bias(b.encoder_position_bias, x.shape[1], both=True)
        for block in b.encoder_transformer_layers:
            visible = np.repeat(mask[:, None, :], x.shape[1], axis=1)
            normed = self._norm(block.self_attention_norm, x)
            x = x + self._attend(
                block.self_attention, normed, normed, visible, bias
            )
            x = self._feed_forwards(block, x, mask)
        return self._norm(b.encoder_norm, x)

    def decode(self, token_ids, padding_mask, encoded, encoder_mask):
        b = self.backbone
        mask = np.asarray(padding_mask, bool)
        length = np.shape(token_ids)[1]
        past = np.tril(np.ones((length, length), bool))
        encoder_mask = np.asarray(encoder_mask, bool)
        x = self.read(b.token_embedding.embeddings)[token_ids]
        bias = self._bias(b.decoder_position_bias, length, both=False)
        for block in b.decoder_transformer_layers:
            normed = self._norm(block.self_attention_norm, x)
            visible = past[None] & mask[:, None, :]
            x = x + self._attend(
                block.self_attention, normed, normed, visible, bias
            )
            normed = self._norm(block.cross_attention_norm, x)
            visible = np.repeat(encoder_mask[:, None, :], length, axis=1)
            x = x + self._attend(
                block.cross_attention, normed, encoded, visible, None
            )
            x = self._feed_forwards(block, x, mask)
        return self._norm(b.decoder_norm, x)

    def compute_logits(self, inputs):
        encoder_mask = inputs["encoder_padding_mask"]
        encoded = self.encode(inputs["encoder_token_ids"], encoder_mask)
        decoded = self.decode(
            inputs["decoder_token_ids"],
            inputs["decoder_padding_mask"],
            encoded,
            encoder_mask,
        )
        return self.project_to_logits(decoded)

    def project_to_logits(self, hidden):
        embeddings = self.read(self.backbone.token_embedding.embeddings)
        return hidden * hidden.shape[-1] ** -0.5 @ embeddings.T

    def _norm(self, layer, x):
        square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(square + layer.epsilon) * self.read(layer.scale)

    def _bias(self, layer, length, both):
        table = self.read(layer.embeddings)
        bias = np.zeros((table.shape[1], length, length))
        for query in range(length):
            for key in range(length):
                bucket = published_bucket(
                    key - query, both, len(table), layer.max_distance
                )
                bias[:, query, key] = table[bucket]
        return bias

    def _attend(self, layer, x, context, visible, bias):
        kernels = [
            self.read(projection.kernel)
            for projection in (
                layer.query_projection,
                layer.key_projection,
                layer.value_projection,
                layer.output_projection,
            )
        ]
        outputs = np.zeros_like(x)
        for row in range(x.shape[0]):
            for head in range(kernels[0].shape[1]):
                queries = x[row] @ kernels[0][:, head]
                keys = context[row] @ kernels[1][:, head]
                values = context[row] @ kernels[2][:, head]
                scores = queries @ keys.T
                if bias is not None:
                    scores = scores + bias[head]
                for position, seen in enumerate(visible[row]):
                    if not seen.any():
                        seen = np.ones_like(seen)
                        scores[position] = 0.0
                    weights = np.exp(
                        scores[position] - scores[position][seen].max()
                    )
                    weights = np.where(seen, weights, 0.0)
                    weights = weights / weights.sum()
                    outputs[row, position] += (
                        weights @ values @ kernels[3][head]
                    )
        return outputs

    def _feed_forwards(self, block, x, mask):
        x = x + self._feed_forward(block.feed_forward_block, x, mask)
        if block.extra_feed_forward_block is None:
            return x
        return x + self._feed_forward(block.extra_feed_forward_block, x, mask)

    def _feed_forward(self, block, x, mask):
        x = self._norm(block.norm, x)
        layer = block.feed_forward
        if not hasattr(layer, "router"):
            hidden = x @ self.read(layer.up.kernel)
            if layer.gated:
                gate = x @ self.read(layer.gate.kernel)
                hidden = np.concatenate([gate, hidden], axis=-1)
            return _activate(hidden, layer.gated) @ self.read(layer.down.kernel)
        router = self.read(layer.router.kernel)
        gated = layer.gated
        up = layer.experts.gate_up.kernel if gated else layer.experts.up.kernel
        up = self.read(up)
        down = self.read(layer.experts.down.kernel)
        outputs = np.zeros_like(x)
        num_experts, top_k = router.shape[1], layer.router.top_k
        capacity = math.inf
        if self.capacity_factor is not None:
            slots = self.capacity_factor * x.shape[1] * top_k / num_experts
            capacity = max(1, math.ceil(slots))
        for row in range(x.shape[0]):
            taken = np.zeros(num_experts, int)
            # All first choices come before any second one.
            for choice, position in np.ndindex(top_k, x.shape[1]):
                if not mask[row, position]:
                    continue
                token = x[row, position]
                scores = np.exp(token @ router - (token @ router).max())
                probs = scores / scores.sum()
                chosen = np.argsort(-probs, kind="stable")[:top_k]
                weight = probs[chosen[choice]]
                if top_k > 1:
                    weight = weight / probs[chosen].sum()
                expert = chosen[choice]
                taken[expert] += 1
                if taken[expert] > capacity:
                    self.num_dropped += 1
                    continue
                hidden = _activate(token @ up[expert], gated)
                outputs[row, position] += weight * hidden @ down[expert]
        return outputs


def _activate(hidden, gated):
    """ReLU, or GEGLU with the gate's half first."""
    if not gated:
        return np.maximum(hidden, 0.0)
    gate, up = np.split(hidden, 2, axis=-1)
    return gate * 0.5 * (1.0 + np.vectorize(math.erf)(gate / 2**0.5)) * up


def published_bucket(relative_position, both, num_buckets, max_distance):
    """The bucket formula of T5's published code, one position at a time."""
    offset = 0
    if both:
        num_buckets //= 2
        offset = num_buckets if relative_position > 0 else 0
        distance = abs(relative_position)
    else:
        distance = max(-relative_position, 0)
    exact = num_buckets // 2
    if distance < exact:
        return offset + distance
    log_ratio = math.log(distance / exact) / math.log(max_distance / exact)
    bucket = exact + int(log_ratio * (num_buckets - exact) + 1e-9)
    return offset + min(bucket, num_buckets - 1)


def _float64(variable):
    return ops.convert_to_numpy(variable.value).astype("float64")
