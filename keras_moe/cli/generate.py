"""`keras-moe generate`: continue a prompt."""

from pathlib import Path
from typing import Annotated
from typing import Literal
from typing import get_args

import typer

from keras_moe.cli.backend import import_models

Sampler = Literal["greedy", "random", "top_k", "top_p"]
SAMPLERS = get_args(Sampler)


def generate(
    model: Annotated[
        Path, typer.Argument(help="A .keras file or a run folder of `train`.")
    ],
    prompt: Annotated[str, typer.Option(help="Text to continue.")] = "def ",
    num_tokens: Annotated[
        int, typer.Option(min=1, help="Bytes to generate.")
    ] = 200,
    sampler: Annotated[
        Sampler,
        typer.Option(metavar="NAME", help="greedy, random, top_k or top_p."),
    ] = "top_p",
    temperature: Annotated[
        float,
        typer.Option(
            min=0.01, help="Divides the logits; lower is more predictable."
        ),
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the sampler.")] = 0,
):
    """Continue a prompt with a trained model."""
    from keras_moe.cli.language_model import load_model
    from keras_moe.cli.language_model import model_file

    file = model_file(model)
    import_models()
    sample = continue_prompt(
        load_model(file), prompt, num_tokens, sampler, temperature, seed
    )
    typer.echo(sample)


def continue_prompt(
    model, prompt, num_tokens, sampler="top_p", temperature=0.7, seed=0
):
    """Generate text.

    Args:
        model: byte-level `MixtralCausalLM`.
        prompt: str, not empty.
        num_tokens: int, bytes to generate.
        sampler: `"greedy"`, `"random"`, `"top_k"` or `"top_p"`.
        temperature: float, divides the logits.
        seed: int.

    Returns:
        str: the prompt and its continuation.

    Raises:
        ValueError: If the prompt is empty or the sampler unknown.
    """
    import keras_hub
    import numpy as np

    from keras_moe.cli.text import decode
    from keras_moe.cli.text import encode

    check_sampler(sampler)
    tokens = encode(prompt)
    if not len(tokens):
        raise ValueError(
            "Expected a prompt of at least one character. "
            f"Received: prompt={prompt!r}"
        )
    samplers = {
        "greedy": lambda: keras_hub.samplers.GreedySampler(),
        "random": lambda: keras_hub.samplers.RandomSampler(
            seed=seed, temperature=temperature
        ),
        "top_k": lambda: keras_hub.samplers.TopKSampler(
            k=10, seed=seed, temperature=temperature
        ),
        "top_p": lambda: keras_hub.samplers.TopPSampler(
            p=0.9, seed=seed, temperature=temperature
        ),
    }
    model.compile(sampler=samplers[sampler]())
    length = len(tokens) + num_tokens
    token_ids = np.zeros((1, length), "int32")
    token_ids[0, : len(tokens)] = tokens
    padding_mask = np.arange(length)[None] < len(tokens)
    outputs = model.generate(
        {"token_ids": token_ids, "padding_mask": padding_mask},
        stop_token_ids=None,
    )
    return decode(outputs["token_ids"][0])


def check_sampler(sampler):
    """Raise if the sampler is unknown.

    Args:
        sampler: name.

    Raises:
        ValueError: Lists the known ones.
    """
    if sampler not in SAMPLERS:
        raise ValueError(
            f"Expected `sampler` to be one of {list(SAMPLERS)}. "
            f"Received: sampler={sampler!r}"
        )
