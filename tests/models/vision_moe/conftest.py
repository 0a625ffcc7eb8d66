"""Small V-MoE models, and a NumPy rendering of them."""

import math

import numpy as np
import pytest
from keras import ops

from keras_moe.models.vision_moe import VisionMoEBackbone
from keras_moe.models.vision_moe import VisionMoEClassifier

# Two layers, of which the second is sparse; 2 * 3 patches and a class token.
SMALL = {
    "image_shape": (4, 6, 3),
    "patch_size": 2,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 12,
    "num_experts": 4,
}


@pytest.fixture(scope="session")
def create_classifier():
    """Return a function that builds a small model with random weights."""

    def create(pooling="token", **arguments):
        backbone = VisionMoEBackbone(**{**SMALL, **arguments})
        model = VisionMoEClassifier(backbone, num_classes=3, pooling=pooling)
        rng = np.random.default_rng(3)
        for variable in model.trainable_variables:
            values = rng.normal(size=variable.shape)
            if variable.path.endswith("gamma"):
                values = 1.0 + 0.5 * np.tanh(values)
            elif "kernel" in variable.path:
                values = values * variable.shape[-2] ** -0.5
            variable.assign(values.astype("float32"))
        return model

    return create


@pytest.fixture
def images():
    shape = (4, *SMALL["image_shape"])
    return np.random.default_rng(5).normal(size=shape).astype("float32")


@pytest.fixture
def oracle():
    return logits_of


def values_of(model):
    """Read all weights as float64, by their path within the model."""
    return {
        each.path: np.float64(ops.convert_to_numpy(each.value))
        for each in model.trainable_variables
    }


def logits_of(values, images, model, factor):
    """Compute the logits image by image, head by head, token by token.

    Args:
        values: dict of `values_of`.
        images: array of shape (B, height, width, channels).
        model: `VisionMoEClassifier`, for its settings.
        factor: float, capacity; tokens of a higher score go first.

    Returns:
        float64 array of shape (B, classes).
    """
    backbone, size = model.backbone, model.backbone.patch_size

    def get(path):
        found = [values[each] for each in values if each.endswith(path)]
        assert len(found) == 1, path
        return found[0]

    rows = []
    for image in np.float64(images):
        height, width, _ = image.shape
        patches = [
            image[top : top + size, left : left + size].ravel()
            for top in range(0, height, size)
            for left in range(0, width, size)
        ]
        tokens = np.array(patches) @ get("projection/kernel")
        tokens = tokens + get("projection/bias")
        if backbone.use_class_token:
            tokens = np.vstack([get("class_token"), tokens])
        rows.append(tokens + get("position_embedding"))
    x = np.array(rows)
    for index, block in enumerate(backbone.encoder_transformer_layers):
        prefix = f"encoder_block_{index}"

        def part(path, prefix=prefix):
            names = [each for each in values if f"{prefix}/" in each]
            names = [each for each in names if each.endswith(f"/{path}")]
            assert len(names) == 1, (prefix, path)
            return values[names[0]]

        def norm(x, name, part=part):
            return _norm(x, part(f"{name}/gamma"), part(f"{name}/beta"))

        normed = norm(x, "attention_norm")
        x = x + np.array([_attend(row, part) for row in normed])
        normed = norm(x, "feed_forward_norm")
        if hasattr(block.feed_forward, "router"):
            groups = normed
            if backbone.routing_group == "batch":
                groups = normed.reshape(1, -1, x.shape[-1])
            fed = [_route(each, part, backbone, factor) for each in groups]
            x = x + np.array(fed).reshape(x.shape)
        else:
            hidden = normed @ part("up/kernel") + part("up/bias")
            x = x + _gelu(hidden) @ part("down/kernel") + part("down/bias")
    x = _norm(x, get("encoder_norm/gamma"), get("encoder_norm/beta"))
    if model.pooling == "token":
        pooled = x[:, 0]
    else:
        pooled = x[:, int(backbone.use_class_token) :].mean(1)
    return pooled @ get("output_dense/kernel") + get("output_dense/bias")


def _attend(x, part):
    outputs = np.zeros_like(x) + part("attention_output/bias")
    for head in range(part("query/kernel").shape[1]):
        query, key, value = (
            x @ part(f"{name}/kernel")[:, head] + part(f"{name}/bias")[head]
            for name in ("query", "key", "value")
        )
        weights = _softmax(query @ key.T / math.sqrt(query.shape[-1]))
        outputs += weights @ value @ part("attention_output/kernel")[head]
    return outputs


def _route(tokens, part, backbone, factor):
    num_experts, top_k = backbone.num_experts, backbone.top_k
    probs = _softmax(tokens @ part("router/kernel"))
    slots = math.ceil(factor * len(tokens) * top_k / num_experts)
    chosen = np.argsort(-probs, axis=1)[:, :top_k]
    best_first = np.argsort(-probs.max(1))
    used = np.zeros(num_experts, int)
    outputs = np.zeros_like(tokens)
    for choice in range(top_k):  # All first choices before any second one.
        for token in best_first:
            expert = chosen[token, choice]
            used[expert] += 1
            if used[expert] > slots:
                continue
            hidden = tokens[token] @ part("up/kernel")[expert]
            hidden = _gelu(hidden + part("up/bias")[expert])
            output = hidden @ part("down/kernel")[expert]
            output = output + part("down/bias")[expert]
            outputs[token] += probs[token, expert] * output
    return outputs


def _norm(x, gamma, beta):
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-6) * gamma + beta


def _softmax(x):
    exps = np.exp(x - x.max(-1, keepdims=True))
    return exps / exps.sum(-1, keepdims=True)


def _gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
