"""What is measured at which size: on a CPU, on a GPU, or just to try it."""

from typing import NamedTuple


class Sizes(NamedTuple):
    """Sizes of one sparse layer."""

    num_experts: int
    top_k: int
    hidden_dim: int
    intermediate_dim: int

    def __str__(self):
        width = f"{self.hidden_dim}x{self.intermediate_dim}"
        return f"E={self.num_experts} K={self.top_k} {width}"


class Scale(NamedTuple):
    """Everything that depends on the machine.

    Attributes:
        layers: (sizes, largest time over the dense MLP) of each layer.
        dtypes: of the layers' weights and inputs; the targets hold for the
            first one.
        num_tokens: int, of one step of a layer.
        experts: numbers of experts to compare at `experts_like` sizes.
        experts_tokens: int, for that comparison.
        tokens: numbers of tokens to compare, at the second layer's sizes.
        models: (sizes, largest time over keras-hub) of each language model.
        batch_size: int, of the language models' training, at 256 tokens.
        decoding: sizes of the model that decodes.
        decoded_tokens: int.
    """

    layers: tuple
    dtypes: tuple
    num_tokens: int
    experts: tuple
    experts_like: Sizes
    experts_tokens: int
    tokens: tuple
    models: tuple
    batch_size: int
    decoding: Sizes
    decoded_tokens: int


CPU = Scale(
    layers=(
        (Sizes(8, 2, 512, 1024), 1.3),
        (Sizes(64, 8, 512, 512), 1.5),
        (Sizes(128, 8, 512, 256), 1.8),
    ),
    dtypes=("float32",),
    num_tokens=2048,
    experts=(8, 16, 32, 64, 128, 256, 512),
    experts_like=Sizes(8, 8, 512, 256),
    experts_tokens=8192,
    tokens=(128, 512, 2048, 8192),
    models=(
        (Sizes(8, 2, 512, 1024), 1 / 3.5),
        (Sizes(64, 8, 512, 256), 1 / 5),
    ),
    batch_size=8,
    decoding=Sizes(64, 8, 512, 256),
    decoded_tokens=64,
)

GPU = CPU._replace(
    layers=(
        (Sizes(8, 2, 4096, 14336), 1.2),  # Mixtral-8x7B
        (Sizes(128, 8, 2048, 768), 1.6),  # Qwen3-30B-A3B
    ),
    dtypes=("bfloat16", "float32"),
    num_tokens=16384,
    experts_like=Sizes(8, 8, 2048, 768),
    tokens=(512, 2048, 8192, 32768),
    batch_size=64,
)

TINY = CPU._replace(
    layers=((Sizes(4, 2, 8, 16), None), (Sizes(8, 2, 8, 8), None)),
    num_tokens=16,
    experts=(4, 8),
    experts_like=Sizes(4, 2, 8, 8),
    experts_tokens=16,
    tokens=(8, 16),
    models=((Sizes(4, 2, 16, 16), None),),
    batch_size=1,
    decoding=Sizes(4, 2, 16, 16),
    decoded_tokens=4,
)

SCALES = {"cpu": CPU, "gpu": GPU, "tiny": TINY}
