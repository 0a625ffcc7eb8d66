"""The sizes of the paper's V-MoE models."""

SIZES = {
    # layers, heads, width, feed-forward width
    "s": (8, 8, 512, 2048),
    "b": (12, 12, 768, 3072),
    "l": (24, 16, 1024, 4096),
    "h": (32, 16, 1280, 5120),
}


def _arguments(size, patch_size, last=None):
    num_layers, num_heads, hidden_dim, intermediate_dim = SIZES[size]
    return {
        "image_shape": [224, 224, 3],
        "patch_size": patch_size,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": intermediate_dim,
        "num_experts": 32,
        # Last-n: n of every second layer.
        "num_dense_layers": 0 if last is None else num_layers - 2 * last,
    }


VISION_MOE_PRESETS = {
    "vision_moe_s_32": _arguments("s", 32),
    "vision_moe_s_32_last_2": _arguments("s", 32, last=2),
    "vision_moe_b_32": _arguments("b", 32),
    "vision_moe_b_16": _arguments("b", 16),
    "vision_moe_b_16_last_2": _arguments("b", 16, last=2),
    "vision_moe_l_32": _arguments("l", 32),
    "vision_moe_l_16": _arguments("l", 16),
    "vision_moe_h_14": _arguments("h", 14),
    "vision_moe_h_14_last_5": _arguments("h", 14, last=5),
}
"""Riquelme et al., 2021: Every-2, or Last-n where the name says so."""
