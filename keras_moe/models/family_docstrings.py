"""The docstrings of families: what all say is written once."""

import inspect
import textwrap

WIDTH = 80
# Sizes of the example, for arguments without a default.
SMALL = {
    "vocabulary_size": 64,
    "num_layers": 2,
    "num_heads": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 8,
    "dense_intermediate_dim": 32,
    "shared_intermediate_dim": 32,
    "num_experts": 8,
    "top_k": 2,
    "head_dim": 4,
    "key_value_latent_dim": 8,
    "nope_head_dim": 4,
    "rope_head_dim": 2,
    "value_head_dim": 4,
}

BACKBONE = """\
{summary}

Args:
{arguments}

Inputs: `token_ids`, int32 (B, L), and `padding_mask`, int32 or bool (B, L), 1
or True = real token.

Outputs: float tensor of shape (B, L, H).

Raises:
    TypeError: If a required argument is missing or one is unknown.
    ValueError: If a size is not positive or sizes do not fit together.

Example:

>>> import numpy as np
>>> from keras_moe.models import {name}
>>> backbone = {name}(
{example}
... )
>>> token_ids = np.ones((1, 5), "int32")
>>> outputs = backbone(
...     {{"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}}
... )
>>> tuple(outputs.shape)
(1, 5, 16)
"""

TASK = """\
{summary}

A `keras_hub.models.CausalLM`: `fit()` trains on logits of shape (B, L, V),
`compile(sampler=...)` takes any keras-hub sampler and `generate()` runs
compiled, one token at a time, with a cache.

Args:
    backbone: `{backbone}`.
    preprocessor: optional `keras_hub.models.CausalLMPreprocessor`; with
        `None`, inputs are dictionaries of `token_ids` and `padding_mask`.

Outputs: float32 logits of shape (B, L, V).

Example:

>>> import numpy as np
>>> from keras_moe.models import {backbone}, {name}
>>> backbone = {backbone}(
{example}
... )
>>> model = {name}(backbone)
>>> model.compile(sampler="greedy")
>>> prompt = np.array([[1, 2, 0, 0]], "int32")
>>> outputs = model.generate(
...     {{"token_ids": prompt, "padding_mask": prompt > 0}},
...     stop_token_ids=None,
... )
>>> outputs["token_ids"].shape  # the prompt and two new tokens
(1, 4)
"""


def backbone_docstring(backbone_class, summary):
    """Write the docstring of a decoder's backbone.

    Args:
        backbone_class: the class, with its `arguments_class`.
        summary: str, what is said of this family alone.

    Returns:
        str.
    """
    arguments_class = backbone_class.arguments_class
    return BACKBONE.format(
        summary=inspect.cleandoc(summary),
        arguments=describe(arguments_class),
        name=backbone_class.__name__,
        example=_example(arguments_class),
    )


def task_docstring(task_class, summary):
    """Write the docstring of a decoder's task.

    Args:
        task_class: the class, with its `backbone_cls`.
        summary: str, what is said of this family alone.

    Returns:
        str.
    """
    backbone_class = task_class.backbone_cls
    return TASK.format(
        summary=inspect.cleandoc(summary),
        name=task_class.__name__,
        backbone=backbone_class.__name__,
        example=_example(backbone_class.arguments_class),
    )


def with_arguments(docstring, arguments_class):
    """Put the section `Args` where a docstring says `{arguments}`.

    Args:
        docstring: optional str; Python without docstrings has none.
        arguments_class: subclass of `BackboneArguments`.

    Returns:
        str; `None` for none.
    """
    if docstring is None:
        return None
    section = f"Args:\n{describe(arguments_class)}"
    return inspect.cleandoc(docstring).replace("{arguments}", section)


def describe(arguments_class):
    """Write the section `Args` of a backbone.

    Args:
        arguments_class: subclass of `BackboneArguments`.

    Returns:
        str, a line or more for each.
    """
    return "\n".join(
        textwrap.fill(
            f"{name}: {arguments_class.text_of(name)}",
            WIDTH,
            initial_indent=" " * 4,
            subsequent_indent=" " * 8,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name in arguments_class.names()
    )


def _example(arguments_class):
    sizes = ", ".join(
        f"{name}={SMALL[name]}" for name in arguments_class.required()
    )
    return textwrap.fill(
        f"{sizes},",
        WIDTH,
        initial_indent="...     ",
        subsequent_indent="...     ",
    )
