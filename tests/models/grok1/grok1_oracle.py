"""Grok-1 in NumPy, from the published description, for tests.

Written after `model.py` of https://github.com/xai-org/grok-1 as a description
of the mathematics: one sequence, one layer, one token's experts at a time, in
float64. Weights go by the names of hpcai-tech/grok-1. Knows nothing of Keras.
"""

import numpy as np


def random_weights(config, seed=1):
    """Draw every tensor of a checkpoint.

    Args:
        config: dict, a `config.json`.
        seed: int.

    Returns:
        dict of tensor name -> float32 array.
    """
    rng = np.random.default_rng(seed)
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    shared = hidden // heads * config["num_key_value_heads"]
    wide = config["intermediate_size"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    norms = ["model.norm"]
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        for name in ("pre_attn", "post_attn", "pre_moe", "post_moe"):
            norms.append(f"{layer}.{name}_norm")
        for name, width in zip(
            "qkvo", (hidden, shared, shared, hidden), strict=True
        ):
            shapes[f"{layer}.attn.{name}_proj.weight"] = (width, hidden)
        shapes[f"{layer}.moe_block.gate.weight"] = (
            config["num_experts"],
            hidden,
        )
        for expert in range(config["num_experts"]):
            expert = f"{layer}.moe_block.experts.{expert}"
            shapes[f"{expert}.linear.weight"] = (wide, hidden)
            shapes[f"{expert}.linear_v.weight"] = (wide, hidden)
            shapes[f"{expert}.linear_1.weight"] = (hidden, wide)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    weights = {
        name: 0.4 * rng.standard_normal(shape) for name, shape in shapes.items()
    }
    # Small enough that the layers' outputs count beside them.
    multiplier = config["embedding_multiplier_scale"]
    weights["model.embed_tokens.weight"] *= min(1.0, 10 / multiplier)
    for name in norms:
        weights[f"{name}.scale"] = 1 + 0.3 * rng.standard_normal(hidden)
    return {name: each.astype("float32") for name, each in weights.items()}


class Grok1Oracle:
    """The forward pass.

    Args:
        config: dict, a `config.json`.
        weights: dict of tensor name -> array.
    """

    def __init__(self, config, weights):
        self.config = config
        self.weights = {
            name: each.astype("float64") for name, each in weights.items()
        }

    def logits(self, token_ids, mask):
        """Score every next token.

        Args:
            token_ids: int array of shape (B, L).
            mask: int array of shape (B, L), 1 = real token.

        Returns:
            float64 array of shape (B, L, V); what padding gets is undefined.
        """
        return np.stack(
            [self._sequence(*row) for row in zip(token_ids, mask, strict=True)]
        )

    def _sequence(self, token_ids, mask):
        config = self.config
        embeddings = self.weights["model.embed_tokens.weight"]
        h = embeddings[token_ids] * config["embedding_multiplier_scale"]
        causal = np.tril(np.ones((len(h), len(h)), bool))
        visible = causal & (mask == 1)
        for index in range(config["num_hidden_layers"]):
            layer = f"model.layers.{index}"
            x = self.attention(
                layer, self.norm(f"{layer}.pre_attn", h), visible
            )
            h = h + self.norm(f"{layer}.post_attn", x)
            x = self.mixture(layer, self.norm(f"{layer}.pre_moe", h))
            h = h + self.norm(f"{layer}.post_moe", x)
        head = self.weights.get("lm_head.weight", embeddings)
        h = self.norm("model", h)
        return h @ head.T * config["output_multiplier_scale"]

    def norm(self, name, x):
        name = "model.norm" if name == "model" else f"{name}_norm"
        mean_square = np.mean(x**2, axis=-1, keepdims=True)
        normed = x / np.sqrt(mean_square + self.config["rms_norm_eps"])
        return self.weights[f"{name}.scale"] * normed

    def attention(self, layer, x, visible):
        config = self.config
        num_heads = config["num_attention_heads"]
        width = config["hidden_size"] // num_heads
        q, k, v = (
            (x @ self.weights[f"{layer}.attn.{name}_proj.weight"].T).reshape(
                len(x), -1, width
            )
            for name in "qkv"
        )
        q, k = self.turn(q), self.turn(k)
        outputs = np.empty((len(x), num_heads, width))
        sharing = num_heads // config["num_key_value_heads"]
        for head in range(num_heads):
            keys, values = k[:, head // sharing], v[:, head // sharing]
            scores = q[:, head] @ keys.T * config["attn_output_multiplier"]
            scores = self.cap(scores)
            scores = np.where(visible, scores, -1e30)
            outputs[:, head] = softmax(scores) @ values
        flat = outputs.reshape(len(x), -1)
        return flat @ self.weights[f"{layer}.attn.o_proj.weight"].T

    def cap(self, scores):
        largest = self.config["max_attn_value"]
        return largest * np.tanh(scores / largest)

    def turn(self, x):
        # As complex numbers: feature i is the real part, i + D / 2 the
        # imaginary one.
        half = x.shape[-1] // 2
        theta = self.config.get("rope_theta", 10_000.0)
        frequencies = theta ** (-np.arange(half) / half)
        angles = np.arange(len(x))[:, None] * frequencies
        turned = x[..., :half] + 1j * x[..., half:]
        turned = turned * np.exp(1j * angles)[:, None]
        return np.concatenate([turned.real, turned.imag], axis=-1)

    def mixture(self, layer, x):
        gate = self.weights[f"{layer}.moe_block.gate.weight"]
        outputs = np.zeros_like(x)
        for token, probs in enumerate(softmax(x @ gate.T)):
            chosen = np.argsort(-probs, kind="stable")
            chosen = chosen[: self.config["num_experts_per_tok"]]
            shares = self.weigh(probs[chosen])
            for expert, share in zip(chosen, shares, strict=True):
                name = f"{layer}.moe_block.experts.{expert}"
                outputs[token] += share * self.expert(name, x[token])
        return outputs

    def weigh(self, probs):
        return probs  # Not divided by their sum.

    def expert(self, name, x):
        gate, up, down = (
            self.weights[f"{name}.{part}.weight"]
            for part in ("linear", "linear_v", "linear_1")
        )
        return down @ (self.gelu(gate @ x) * (up @ x))

    def gelu(self, x):
        inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        return x / 2 * (1 + np.tanh(inner))


def softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
