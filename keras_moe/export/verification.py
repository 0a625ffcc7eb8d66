"""Compare a SavedModel with the model that it was exported from."""

import pathlib
from typing import NamedTuple

from keras_moe.export.answers import collect_answers
from keras_moe.export.answers import make_live_functions
from keras_moe.export.description import read_description
from keras_moe.export.differences import largest_difference
from keras_moe.export.differences import mean_divergence
from keras_moe.export.endpoints import describe_endpoints
from keras_moe.export.endpoints import describe_signatures
from keras_moe.export.judgement import find_problems
from keras_moe.export.version_folder import find_version_folder

DEFAULT = "serving_default"
BATCH_SHAPES = ((1, 4), (3, 7))


class VerificationResult(NamedTuple):
    """How far a SavedModel is from its model.

    Attributes:
        path: `pathlib.Path`, the version folder that was loaded.
        largest_difference: float, the largest of all floating point outputs
            of all signatures.
        differences: dict from output name of `serving_default` to float, the
            largest absolute difference of any element in any sample. `inf`
            where only one of the two is NaN.
        shapes: tuple with a dict for each sample of `serving_default`, from
            input name to shape.
        signatures: dict from signature name to a dict like `differences`. Of
            whole numbers and text, the share of elements that differ.
        problems: tuple of strings, what differs by more than rounding
            explains; empty if the SavedModel answers as its model.
        divergence: float, mean Kullback-Leibler divergence in nats of the
            next token's distribution, or `None` for a model without logits
            over a vocabulary.
    """

    path: pathlib.Path
    largest_difference: float
    differences: dict
    shapes: tuple
    signatures: dict
    problems: tuple
    divergence: float | None


def verify_saved_model(
    model,
    path,
    *,
    endpoints=None,
    samples=None,
    batch_shapes=BATCH_SHAPES,
    seed=0,
    verbose=True,
):
    """Run a SavedModel without Keras and compare it with its model.

    A child process in which Keras, JAX and PyTorch cannot be imported loads
    the SavedModel and answers some requests through every signature. The
    model answers the same ones here, with `training=False`. The caller judges
    the result: a difference of about 1e-6 is usual under float32, 1e-2 under
    mixed_bfloat16, and more where rounding sends a token whose best experts
    nearly tie to another expert. `problems` says what is more than that.

    Args:
        model: the `keras.Model` that was exported.
        path: string or `pathlib.Path`, a version folder, or the folder of all
            versions, whose newest is taken.
        endpoints: the dict that `export_saved_model` was given. Without it
            only the package's own signatures are compared.
        samples: `None` to draw random ones, or a dict from input name to
            array, or a list of such dicts, for `serving_default`.
        batch_shapes: tuple of tuples of ints, one for each random sample: the
            values for the open sizes of every input, first to last, such as
            (batch size, sequence length).
        seed: int, for the random samples.
        verbose: bool, whether to show progress.

    Returns:
        A `VerificationResult`.

    Raises:
        ValueError: if there is no SavedModel, its inputs or outputs are not
            those of the model, or the samples do not fit it.
        ImportError: if TensorFlow is not installed.
        RuntimeError: if the SavedModel cannot be loaded or run.

    Example: `export_saved_model` shows both functions at work.
    """
    _check_batch_shapes(batch_shapes)
    given = describe_endpoints(model, endpoints)
    folder = find_version_folder(path)
    # Signatures of the user's own may have names of ours.
    foreign = {*read_description(folder).get("endpoints", ())}
    own = [
        x for x in describe_signatures(model, "all") if x.name not in foreign
    ]
    return compare(
        model,
        folder,
        (*own, *given),
        samples=samples,
        batch_shapes=batch_shapes,
        seed=seed,
        verbose=verbose,
    )


def compare(
    model,
    folder,
    endpoints,
    *,
    weights=None,
    task=None,
    samples=None,
    batch_shapes=BATCH_SHAPES,
    seed=0,
    verbose=True,
):
    """Compare a SavedModel with its model, signature by signature.

    Args:
        model: the `keras.Model` that was exported.
        folder: `pathlib.Path` of the SavedModel.
        endpoints: tuple of `keras_moe.export.endpoints.Endpoint`.
        weights: `None` or `"int8"`, as for `export_saved_model`.
        task: optional string, what to call the work.
        samples: as for `verify_saved_model`, like all that follow.
        batch_shapes: tuple of tuples of ints.
        seed: int.
        verbose: bool.

    Returns:
        A `VerificationResult`.
    """
    functions = make_live_functions(model, endpoints)
    answers = collect_answers(
        model,
        folder,
        functions,
        task=task or f"Verifying {folder}",
        samples=samples,
        batch_shapes=batch_shapes,
        seed=seed,
        verbose=verbose,
    )
    differences: dict[str, dict] = {}
    largest = 0.0
    for answer in answers:
        found = differences.setdefault(answer.signature, {})
        for name, served in answer.served.items():
            difference = largest_difference(served, answer.expected[name])
            found[name] = max(found.get(name, 0.0), difference)
            if served.dtype.kind == "f":
                largest = max(largest, difference)
    return VerificationResult(
        path=folder,
        largest_difference=largest,
        differences=differences[DEFAULT],
        shapes=tuple(
            {name: array.shape for name, array in answer.inputs.items()}
            for answer in answers
            if answer.signature == DEFAULT
        ),
        signatures=differences,
        problems=tuple(find_problems(model, answers, functions, weights)),
        divergence=mean_divergence(model, answers),
    )


def _check_batch_shapes(batch_shapes):
    """Refuse sizes that no batch can have."""
    good = len(batch_shapes) > 0 and all(
        isinstance(sizes, (tuple, list))
        and all(isinstance(size, int) and size > 0 for size in sizes)
        for sizes in batch_shapes
    )
    if not good:
        raise ValueError(
            "Expected batch_shapes to be a tuple of tuples of positive "
            f"integers. Received: batch_shapes={batch_shapes!r}. "
            "Write for example ((1, 4), (3, 7))."
        )
