"""Tests of the Switch Transformer language model: logits and training."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.models.switch import SwitchSeq2SeqLM
from keras_moe.routing import Capacity

# XLA where the backend offers it.
JIT_COMPILE = keras.backend.backend() != "torch"


@pytest.mark.sweep
def test_tied_logits_match_the_oracle(
    create_backbone, sequences, switch_oracle
):
    backbone = create_backbone(router={"capacity": Capacity(1.25, 1.0)})
    model = SwitchSeq2SeqLM(backbone)
    logits = model.predict_on_batch(sequences)
    expected = switch_oracle(backbone, 1.0).compute_logits(sequences)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("remat_mode", [None, "full"])
def test_every_gradient_matches_the_oracle(
    create_backbone, sequences, switch_oracle, remat_mode
):
    # Training capacity with drops; without the losses of the routers, whose
    # own tests cover them. A step of SGD with rate 1 subtracts the gradient.
    with keras.RematScope(mode=remat_mode):
        backbone = create_backbone(
            router={"capacity": Capacity(1.0, 2.0), "balancing": None},
        )
        model = SwitchSeq2SeqLM(backbone)
    rng = np.random.default_rng(5)
    cotangent = rng.normal(size=(3, 5, 13)).astype("float32")
    model.compile(
        keras.optimizers.SGD(1.0),
        loss=lambda y_true, y_pred: ops.sum(y_true * y_pred),
        weighted_metrics=[],
        jit_compile=JIT_COMPILE,
    )
    variables = model.trainable_variables
    before = {v.path: ops.convert_to_numpy(v.value) for v in variables}
    model.train_on_batch(sequences, cotangent)
    gradients = {
        v.path: before[v.path] - ops.convert_to_numpy(v.value)
        for v in variables
    }

    def loss_along(path, direction, step):
        def read(variable):
            values = before[variable.path].astype("float64")
            moved = variable.path == path
            return values + step * direction if moved else values

        oracle = switch_oracle(backbone, 1.0, read)
        loss = np.sum(cotangent * oracle.compute_logits(sequences))
        assert oracle.num_dropped > 0
        return loss

    assert len(gradients) == 28
    for path, gradient in gradients.items():
        direction = rng.normal(size=gradient.shape)
        slope = loss_along(path, direction, 1e-6)
        slope = (slope - loss_along(path, direction, -1e-6)) / 2e-6
        assert abs(slope) > 1e-3, path
        np.testing.assert_allclose(
            np.sum(gradient * direction), slope, rtol=1e-3, err_msg=path
        )


@pytest.mark.sweep
def test_fit_adds_the_routing_losses_in_mixed_precision(
    create_backbone, sequences
):
    backbone = create_backbone(
        dropout=0.1,
        router={"jitter_noise": 0.01},
        dtype="mixed_bfloat16",
        randomize=False,
    )
    model = SwitchSeq2SeqLM(backbone)
    assert model.output.dtype == "float32"
    model.compile(
        "sgd",
        loss=lambda y_true, y_pred: 0.0 * ops.sum(y_pred),
        weighted_metrics=[],
    )
    history = model.fit(
        sequences, np.zeros((3, 5)), shuffle=False, verbose=0
    ).history
    # Two routers with four experts. The load-balancing loss is 1 when
    # balanced and at most 4; a z-loss of small logits is near log(4)^2 = 1.9,
    # so each router adds about 0.01 + 0.0019.
    assert 2 * 0.01 < history["loss"][0] < 2 * (0.04 + 0.02)
    values = [ops.convert_to_numpy(v.value) for v in model.variables]
    assert all(np.isfinite(value).all() for value in values)


@pytest.mark.sweep
def test_an_untied_head_has_its_own_kernel_and_survives_saving(
    create_backbone, sequences, switch_oracle, tmp_path
):
    backbone = create_backbone(
        tie_embedding_weights=False, router={"capacity": None}
    )
    model = SwitchSeq2SeqLM(backbone)
    oracle = switch_oracle(backbone, None)
    encoder_mask = sequences["encoder_padding_mask"]
    decoded = oracle.decode(
        sequences["decoder_token_ids"],
        sequences["decoder_padding_mask"],
        oracle.encode(sequences["encoder_token_ids"], encoder_mask),
        encoder_mask,
    )
    kernel = ops.convert_to_numpy(model.output_projection.kernel.value)
    logits = model.predict_on_batch(sequences)
    np.testing.assert_allclose(logits, decoded @ kernel, rtol=1e-4, atol=1e-5)
    path = tmp_path / "switch.keras"
    model.save(path)
    loaded = keras.saving.load_model(path, compile=False)
    assert isinstance(loaded, SwitchSeq2SeqLM)
    np.testing.assert_array_equal(loaded.predict_on_batch(sequences), logits)


def test_config_round_trip(create_backbone):
    model = SwitchSeq2SeqLM(create_backbone(randomize=False), name="switch")
    config = model.get_config()
    copy = SwitchSeq2SeqLM.from_config(model.get_config())
    assert copy.get_config() == config


def test_an_encoder_alone_is_refused(create_backbone):
    backbone = create_backbone(num_decoder_layers=0, randomize=False)
    with pytest.raises(ValueError, match="num_decoder_layers of at least 1"):
        SwitchSeq2SeqLM(backbone)
