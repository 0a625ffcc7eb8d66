"""What a backbone's constructor is given, declared once."""

import dataclasses
from typing import Any

from keras_moe.ops.plain_numbers import to_plain
from keras_moe.routing.validation import check_positive

# What an argument means, wherever a family does not say more.
TEXTS = {
    "attention_logit_soft_cap": (
        "optional float s: a scaled score x becomes `s * tanh(x / s)`; `None` "
        "leaves it as it is."
    ),
    "clip_query_key_value": (
        "optional float, largest magnitude of queries, keys and values, the "
        "published `clip_qkv`."
    ),
    "dense_intermediate_dim": (
        "optional int, width of the dense layers; `None` means "
        "`intermediate_dim`."
    ),
    "dense_layers": "list of ints, indices of more layers that are dense.",
    "dropout": "float, after attention and feed-forward while training.",
    "dtype": "optional dtype policy or its name.",
    "expert_layer_stride": (
        "int n: layers n - 1, 2n - 1, ... are sparse, the others dense. 1 "
        "makes every layer sparse."
    ),
    "head_dim": "optional int D; `None` means H / N.",
    "hidden_dim": "int H.",
    "intermediate_dim": "int I, width of one expert, per branch.",
    "layer_norm_epsilon": "float.",
    "normalize_combine_weights": (
        "bool, whether a token's K weights are divided by their sum."
    ),
    "num_dense_layers": (
        "int, how many layers come before the first sparse one."
    ),
    "num_experts": "int E.",
    "num_key_value_heads": "int M, a divisor of N.",
    "num_layers": "int.",
    "num_query_heads": "int N.",
    "rope_max_wavelength": "float, the published `rope_theta`.",
    "rope_scaling_factor": "float, divides the positions.",
    "router": (
        "optional `keras_moe.layers.Router`, whose configuration each sparse "
        "layer's router takes, or a dict of arguments that change the model's "
        'own router, such as `{"balancing": None}`.'
    ),
    "sliding_window": (
        "optional int, how many tokens a query sees, itself included; `None` "
        "is all of them."
    ),
    "tie_embedding_weights": "bool, one matrix for embedding and head.",
    "top_k": "int K, experts per token.",
    "use_attention_bias": (
        "bool, whether the attention's four projections have biases."
    ),
    "vocabulary_size": "int V.",
}
NOT_KEPT = ("dtype",)  # The layers keep it.
# What is positive, in any family that has it.
SIZES = ("vocabulary_size", "num_layers", "hidden_dim", "expert_layer_stride")


def argument(text, default: Any = dataclasses.MISSING) -> Any:
    """Declare an argument that means something else than in other families.

    Args:
        text: str, what it means, as in a docstring.
        default: its default; without one it is required.

    Returns:
        A field of a dataclass.
    """
    return dataclasses.field(default=default, metadata={"text": text})


@dataclasses.dataclass(kw_only=True)
class Arguments:
    """A backbone's arguments: keywords, declared as fields of a dataclass.

    A family derives from it a dataclass with keywords only, whose fields are
    its constructor's arguments: the signature, the configuration and the
    documentation of the backbone follow from them. What an argument means
    stands in `TEXTS`, or beside it, see `argument`.

    Raises:
        TypeError: If a required argument is missing.
        ValueError: If a size is not positive.
    """

    def __post_init__(self):
        for name in self.names():
            setattr(self, name, to_plain(getattr(self, name)))
        given = {each: getattr(self, each) for each in self.names()}
        check_positive(**{each: given[each] for each in SIZES if each in given})

    @classmethod
    def names(cls):
        """Return the names, those without a default first.

        Returns:
            list of str.
        """
        required = cls.required()
        fields = dataclasses.fields(cls)
        others = [each.name for each in fields if each.name not in required]
        return [*required, *others]

    @classmethod
    def required(cls):
        """Return the names of those without a default.

        Returns:
            list of str.
        """
        return [
            each.name
            for each in dataclasses.fields(cls)
            if each.default is dataclasses.MISSING
        ]

    @classmethod
    def text_of(cls, name):
        """Return what an argument means.

        Args:
            name: str.

        Returns:
            str.

        Raises:
            KeyError: If nobody said.
        """
        for each in cls.__mro__:
            field = vars(each).get("__dataclass_fields__", {}).get(name)
            if field is not None and "text" in field.metadata:
                return field.metadata["text"]
        return TEXTS[name]

    @classmethod
    def pick(cls, values):
        """Make arguments of those values that belong to them.

        Args:
            values: dict, also of others.

        Returns:
            The arguments.
        """
        names = cls.names()
        return cls(**{name: values[name] for name in names if name in values})

    def to_config(self):
        """Return all but the dtype policy.

        Returns:
            dict.
        """
        return {
            name: getattr(self, name)
            for name in self.names()
            if name not in NOT_KEPT
        }

    def is_sparse(self, index):
        """Tell whether a layer has experts.

        With an `expert_layer_stride` n, layers n - 1, 2n - 1, ... are sparse;
        an `expert_layer_offset` is the first of them in place of n - 1. The
        `num_dense_layers` first layers and the `dense_layers` are exceptions.
        Without these all layers are sparse.

        Args:
            index: int, the layer's number, from 0.

        Returns:
            bool.
        """
        stride = getattr(self, "expert_layer_stride", 1)
        offset = getattr(self, "expert_layer_offset", stride - 1)
        first = getattr(self, "num_dense_layers", 0)
        if index < first or index in getattr(self, "dense_layers", ()):
            return False
        return index % stride == offset % stride


@dataclasses.dataclass(kw_only=True)
class BackboneArguments(Arguments):
    """The arguments that every backbone of token ids has.

    Raises:
        TypeError: If a required argument is missing.
        ValueError: If a size is not positive.

    Example:

    >>> @dataclasses.dataclass(kw_only=True)
    ... class ToyArguments(BackboneArguments):
    ...     top_k: int = 1
    ...     num_memories: int = argument("int, memories per layer.", 4)
    >>> arguments = ToyArguments(
    ...     vocabulary_size=64, num_layers=2, hidden_dim=16,
    ...     intermediate_dim=32, num_experts=4,
    ... )
    >>> arguments.num_memories, arguments.text_of("num_memories")
    (4, 'int, memories per layer.')
    """

    vocabulary_size: int
    num_layers: int
    hidden_dim: int
    intermediate_dim: int
    num_experts: int
    top_k: int
    layer_norm_epsilon: float = 1e-6
    dropout: float = 0.0
    router: Any = None
    tie_embedding_weights: bool = False
    dtype: Any = None
