"""Tests of the Switch Transformer classifier."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.models.switch import SwitchClassifier
from keras_moe.routing import Capacity


@pytest.fixture
def inputs(sequences):
    return {
        "token_ids": sequences["encoder_token_ids"],
        "padding_mask": sequences["encoder_padding_mask"],
    }


@pytest.mark.sweep
def test_logits_match_the_oracle_and_survive_saving(
    create_backbone, inputs, switch_oracle, tmp_path
):
    backbone = create_backbone(
        num_decoder_layers=0, router={"capacity": Capacity(1.25, 1.0)}
    )
    model = SwitchClassifier(backbone, num_classes=3, dropout=0.2)
    encoded = switch_oracle(backbone, 1.0).encode(
        inputs["token_ids"], inputs["padding_mask"]
    )
    pooled = [
        row[mask.astype(bool)].mean(0)
        for row, mask in zip(encoded, inputs["padding_mask"], strict=True)
    ]
    kernel = ops.convert_to_numpy(model.output_dense.kernel.value)
    logits = model.predict_on_batch(inputs)
    np.testing.assert_allclose(
        logits, np.array(pooled) @ kernel, rtol=1e-4, atol=1e-5
    )
    model.save(tmp_path / "classifier.keras")
    loaded = keras.saving.load_model(
        tmp_path / "classifier.keras", compile=False
    )
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.predict_on_batch(inputs), logits)


@pytest.mark.sweep
def test_fit_takes_a_step_while_rematerializing(create_backbone, inputs):
    with keras.RematScope(mode="full"):
        backbone = create_backbone(num_decoder_layers=0, dropout=0.1)
        model = SwitchClassifier(backbone, num_classes=3, dropout=0.2)
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[],
        jit_compile=keras.backend.backend() != "torch",
    )
    before = [ops.convert_to_numpy(v.value) for v in model.trainable_variables]
    # A row without any real token must not spoil the step.
    mask = inputs["padding_mask"] * np.array([[1], [1], [0]])
    history = model.fit(
        {**inputs, "padding_mask": mask},
        np.array([0, 2, 1]),
        shuffle=False,
        verbose=0,
    ).history
    assert np.isfinite(history["loss"]).all()
    for variable, old in zip(model.trainable_variables, before, strict=True):
        new = ops.convert_to_numpy(variable.value)
        assert np.isfinite(new).all(), variable.path
        assert not np.array_equal(new, old), variable.path


def test_a_backbone_with_decoder_is_refused(create_backbone):
    with pytest.raises(ValueError, match="num_decoder_layers=0"):
        SwitchClassifier(create_backbone(randomize=False), num_classes=2)
