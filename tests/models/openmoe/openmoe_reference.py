"""OpenMoE in NumPy, token by token where that is clearer.

From the description of the published `modeling_openmoe.py` (the repositories
OrionZheng/openmoe-*; the same file in github.com/hpcaitech/ColossalAI) and of
its `Top2Router`, without its capacity. float64; it shares nothing with the
package. transformers has no OpenMoE.
"""

import json
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file
from safetensors.numpy import save_file


class Quirks(NamedTuple):
    """What sets OpenMoE apart; each can be switched off."""

    unscaled_attention: bool = True
    first_key_visible: bool = True
    raw_probabilities: bool = True
    third_branch: bool = True
    extra_block: bool = True


ALL = Quirks()


class OpenMoEReference:
    """Weights and configuration as they are published, and what they mean."""

    def __init__(self, config, weights):
        self.config = config
        self.weights = weights

    @classmethod
    def random(cls, scale=0.3, **config):
        config = {**PUBLISHED, **config}
        rng = np.random.default_rng(1)
        weights = {
            name: scale * rng.standard_normal(shape) + ("norm" in name)
            for name, shape in _shapes(config).items()
        }
        return cls(config, {n: w.astype("float32") for n, w in weights.items()})

    @classmethod
    def read(cls, folder):
        config = json.loads((folder / "config.json").read_text())
        return cls(config, load_file(folder / "model.safetensors"))

    def write(self, folder):
        (folder / "config.json").write_text(json.dumps(self.config))
        save_file(self.weights, folder / "model.safetensors")

    def logits(self, token_ids, mask, quirks=ALL):
        x = self._weight("model.embed_tokens.weight")[token_ids]
        visible = np.tril(np.ones((x.shape[1],) * 2, bool)) & (
            mask[:, None, :] > 0
        )
        if quirks.first_key_visible:
            visible[:, :, 0] = True
        for layer in range(self.config["num_hidden_layers"]):
            x = self._layer(f"model.layers.{layer}.", layer, x, visible, quirks)
        return self._norm("model.norm.weight", x) @ self._matrix("lm_head")

    def _layer(self, name, layer, x, visible, quirks):
        sparse = (layer + 1) % self.config["moe_layer_interval"] == 0
        normed = self._norm(f"{name}input_layernorm.weight", x)
        x = x + self._attention(f"{name}self_attn.", normed, visible, quirks)
        normed = self._norm(f"{name}post_attention_layernorm.weight", x)
        if not sparse:
            return x + self._dense(f"{name}mlp.", normed, quirks)
        x = x + self._experts(f"{name}mlp.", normed, quirks)
        if not quirks.extra_block:
            return x
        normed = self._norm(f"{name}pre_extra_mlp_layernorm.weight", x)
        return x + self._dense(f"{name}extra_mlp.", normed, quirks)

    def _attention(self, name, x, visible, quirks):
        head_dim = self.config["head_dim"]
        query, key, value = (
            (x @ self._matrix(f"{name}{which}_proj")).reshape(
                *x.shape[:2], -1, head_dim
            )
            for which in "qkv"
        )
        groups = query.shape[2] // key.shape[2]
        query, key = _rotate(query), _rotate(key)
        key, value = (np.repeat(each, groups, axis=2) for each in (key, value))
        scores = np.einsum("bqnd,bknd->bnqk", query, key)
        if not quirks.unscaled_attention:
            scores = scores / np.sqrt(head_dim)
        scores = np.where(visible[:, None], scores, -np.inf)
        # A query of padding may see nothing.
        scores = np.where(visible.any(-1)[:, None, :, None], scores, 0.0)
        mixed = np.einsum("bnqk,bknd->bqnd", _softmax(scores), value)
        return mixed.reshape(*x.shape[:2], -1) @ self._matrix(f"{name}o_proj")

    def _dense(self, name, x, quirks):
        gate, up, down = (
            self._matrix(f"{name}{which}_proj")
            for which in ("gate", "up", "down")
        )
        return _three_branches(x, gate, up, quirks) @ down

    def _experts(self, name, x, quirks):
        probs = _softmax(x @ self._weight(f"{name}gate_weight").T)
        gate, up, down = (
            self._weight(f"{name}experts.{which}")
            for which in ("wi_gate", "wi_up", "wo")
        )
        outputs = np.zeros_like(x)
        for place in np.ndindex(*x.shape[:2]):
            chosen = np.argsort(-probs[place], kind="stable")
            chosen = chosen[: self.config["router_topk"]]
            weights = probs[place][chosen]
            if not quirks.raw_probabilities:
                weights = weights / weights.sum()
            for e, weight in zip(chosen, weights, strict=True):
                inner = _three_branches(x[place], gate[e], up[e], quirks)
                outputs[place] += weight * (inner @ down[e])
        return outputs

    def _norm(self, name, x):
        mean_square = np.mean(x**2, axis=-1, keepdims=True)
        scale = self._weight(name)
        return scale * x / np.sqrt(mean_square + self.config["rms_norm_eps"])

    def _matrix(self, name):
        return self._weight(f"{name}.weight").T

    def _weight(self, name):
        return self.weights[name].astype("float64")


# The settings that all published sizes share.
PUBLISHED = {
    "architectures": ["OpenMoeForCausalLM"],
    "model_type": "llama",
    "hidden_act": "swiglu",
    "mlp_gated": True,
    "attention_bias": False,
    "router_topk": 2,
    "router_capacity_factor_eval": 2.0,
    "rms_norm_eps": 1e-6,
    "layer_norm_epsilon": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}


def _shapes(config):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    experts, vocabulary = config["num_experts"], config["vocab_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]

    def dense(name):
        return {
            f"{name}.gate_proj.weight": (2 * inner, hidden),
            f"{name}.up_proj.weight": (inner, hidden),
            f"{name}.down_proj.weight": (hidden, inner),
        }

    shapes = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (vocabulary, hidden),
    }
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.input_layernorm.weight": (hidden,),
            f"{name}.post_attention_layernorm.weight": (hidden,),
            f"{name}.self_attn.q_proj.weight": (queries, hidden),
            f"{name}.self_attn.k_proj.weight": (keys, hidden),
            f"{name}.self_attn.v_proj.weight": (keys, hidden),
            f"{name}.self_attn.o_proj.weight": (hidden, queries),
        }
        if (layer + 1) % config["moe_layer_interval"]:
            shapes |= dense(f"{name}.mlp")
            continue
        shapes |= dense(f"{name}.extra_mlp") | {
            f"{name}.pre_extra_mlp_layernorm.weight": (hidden,),
            f"{name}.mlp.gate_weight": (experts, hidden),
            f"{name}.mlp.experts.wi_gate": (experts, hidden, 2 * inner),
            f"{name}.mlp.experts.wi_up": (experts, hidden, inner),
            f"{name}.mlp.experts.wo": (experts, inner, hidden),
        }
    return shapes


def _three_branches(x, gate, up, quirks):
    linear, gate = np.split(x @ gate, 2, axis=-1)
    activated = gate / (1.0 + np.exp(-gate))
    if not quirks.third_branch:
        linear = 1.0
    return linear * activated * (x @ up)


def _rotate(heads):
    half = heads.shape[-1] // 2
    frequency = 1.0 / 10_000.0 ** (np.arange(half) / half)
    turn = np.exp(1j * np.arange(heads.shape[1])[:, None] * frequency)
    pairs = (heads[..., :half] + 1j * heads[..., half:]) * turn[:, None]
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def _softmax(scores):
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
