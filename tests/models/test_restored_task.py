"""Tasks that come back with what their files hold."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.models import small_backbones

FAMILIES = ("mixtral", "switch_classifier")


def in_order_of_use(family):
    """How PyTorch once ordered the weights: norms after their stack."""
    order = small_backbones.weight_names(small_backbones.make_task(family))
    last = "final_norm" if family == "mixtral" else "encoder_norm"
    norm = next(name for name in order if name.startswith(last))
    order.remove(norm)
    head = [name for name in order if name.startswith("output_dense")]
    return [name for name in order if name not in head] + [norm, *head]


def make_trained(family, order=None):
    """A task whose optimizer knows its variables in some order."""
    task = small_backbones.make_task(family)
    task.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    variables = task.trainable_variables
    if order:
        variables = sorted(variables, key=lambda each: order.index(each.path))
    task.optimizer.build(variables)
    rng = np.random.default_rng(7)
    for variable in task.optimizer.variables:
        variable.assign(rng.uniform(1.0, 9.0, variable.shape))
    return task


@pytest.mark.once
@pytest.mark.parametrize("family", FAMILIES)
def test_optimizers_of_older_files_find_their_weights(family, tmp_path):
    order = in_order_of_use(family)
    task = make_trained(family, order)
    assert order != small_backbones.weight_names(task)
    task.save(tmp_path / "old.keras")
    loaded = keras.saving.load_model(tmp_path / "old.keras")
    expected, actual = (
        {
            each.path.partition("/")[2]: ops.convert_to_numpy(each)
            for each in model.optimizer.variables
        }
        for model in (task, loaded)
    )
    assert {*actual} == {*expected}
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], name)
    # Written again, it is in today's order.
    loaded.save(tmp_path / "new.keras")
    again = keras.saving.load_model(tmp_path / "new.keras")
    for one, other in zip(
        again.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other)
        )


@pytest.mark.once
def test_files_of_other_backends_ask_for_no_compiler(tmp_path):
    task = small_backbones.make_task("mixtral")
    task.compile("adam", "mse", jit_compile=True)  # What JAX writes for "auto".
    task.save(tmp_path / "jax.keras")
    assert not keras.saving.load_model(tmp_path / "jax.keras").jit_compile
