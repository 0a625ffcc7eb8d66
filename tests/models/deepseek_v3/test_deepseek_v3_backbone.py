"""Settings, training and generation of DeepSeek-V2 and -V3."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.blocks import MultiHeadLatentAttention
from keras_moe.blocks import Yarn
from keras_moe.callbacks import RoutingMonitor
from keras_moe.layers import FeedForward
from keras_moe.layers import SharedExpertMoE
from keras_moe.models.deepseek_v2 import DEEPSEEK_V2_PRESETS
from keras_moe.models.deepseek_v2 import DeepSeekV2Backbone
from keras_moe.models.deepseek_v2 import DeepSeekV2CausalLM
from keras_moe.models.deepseek_v3 import DEEPSEEK_V3_PRESETS
from keras_moe.models.deepseek_v3 import DeepSeekV3Backbone
from keras_moe.models.deepseek_v3 import DeepSeekV3CausalLM
from keras_moe.routing import CombineWeights
from keras_moe.routing import ExpertGroups
from tests.models.backbone_contract import SETTINGS
from tests.models.backbone_contract import BackboneContract
from tests.models.backbone_contract import routed_part

SMALL = {
    "vocabulary_size": 48,
    "num_layers": 2,
    "num_query_heads": 4,
    "hidden_dim": 16,
    "intermediate_dim": 8,
    "dense_intermediate_dim": 24,
    "num_experts": 8,
    "top_k": 2,
    "key_value_latent_dim": 8,
    "nope_head_dim": 4,
    "rope_head_dim": 4,
    "value_head_dim": 6,
    "num_expert_groups": 4,
    "num_limited_groups": 2,
}
YARN = Yarn(4.0, 64, mscale=1.0, mscale_all_dim=0.5)
TASKS = (DeepSeekV3CausalLM, DeepSeekV2CausalLM)


class DeepSeekContract(BackboneContract):
    small = SMALL
    settings = {
        "num_layers": 3,
        "num_dense_layers": 2,
        "query_latent_dim": 6,
        "num_shared_experts": 3,
        "route_scale": 2.0,
        "yarn": YARN,
        "use_attention_bias": True,
        "tie_embedding_weights": True,
    }
    sparse_layers = (2,)
    with_losses = (SETTINGS, 1)
    not_positive = (("num_layers", 0), ("num_shared_experts", 0))

    def test_its_own_settings_reach_the_layers(self):
        for block in self.sparse_blocks():
            shared = block.feed_forward.shared_experts
            assert shared.intermediate_dim == 24
            router = routed_part(block).router
            assert router.combine_weights.scale == 2.0
            assert block.attention.yarn == YARN
            assert block.attention.query_latent_dim == 6
            assert block.attention.use_bias


class TestDeepSeekV2Backbone(DeepSeekContract):
    backbone = DeepSeekV2Backbone
    presets = DEEPSEEK_V2_PRESETS


class TestDeepSeekV3Backbone(DeepSeekContract):
    backbone = DeepSeekV3Backbone
    presets = DEEPSEEK_V3_PRESETS

    def test_a_rate_reaches_the_router(self):
        router = {"balancing": ExpertBias(0.02)}
        backbone = self.make(num_layers=2, router=router)
        (rule,) = router_of(backbone).balancing
        assert rule.rate == 0.02


@pytest.fixture(params=TASKS, ids=lambda task: task.__name__)
def task(request):
    return request.param


def make_model(task, **changes):
    return task(task.backbone_cls(**{**SMALL, **changes}))


@pytest.fixture
def batch():
    token_ids = np.random.default_rng(0).integers(1, 48, (3, 9))
    padding_mask = np.ones_like(token_ids)
    padding_mask[1, 7:] = 0
    return {
        "token_ids": token_ids.astype("int32"),
        "padding_mask": padding_mask.astype("int32"),
    }


def test_the_first_layers_are_dense_and_the_others_share_an_expert(task):
    backbone = task.backbone_cls(
        **{**SMALL, "num_layers": 3, "num_dense_layers": 2},
        num_shared_experts=3,
    )
    parts = [block.feed_forward for block in backbone.decoder_blocks]
    assert [type(part) for part in parts] == [
        FeedForward,
        FeedForward,
        SharedExpertMoE,
    ]
    assert parts[0].intermediate_dim == 24
    assert parts[2].shared_experts.intermediate_dim == 3 * 8
    for block in backbone.decoder_blocks:
        assert type(block.attention) is MultiHeadLatentAttention


def router_of(backbone):
    return backbone.decoder_blocks[1].feed_forward.routed_experts.router


def test_routers_are_as_the_version_has_them():
    two = router_of(DeepSeekV2Backbone(**SMALL, route_scale=16.0))
    assert two.score_function == "softmax"
    assert two.expert_groups == ExpertGroups(4, 2, "max")
    assert two.combine_weights == CombineWeights(False, 1.0, 16.0)
    assert two.expert_bias is None
    assert [rule.weight for rule in two.balancing] == [0.003]
    three = router_of(DeepSeekV3Backbone(**SMALL))
    assert three.score_function == "sigmoid"
    assert three.expert_groups == ExpertGroups(4, 2, "top2_sum")
    assert three.combine_weights == CombineWeights(True, 1.0, 1.0)
    assert three.expert_bias is not None
    bias, load_balancing = three.balancing
    assert (bias.rate, load_balancing.weight) == (0.001, 0.0001)
    free = router_of(DeepSeekV3Backbone(**{**SMALL, "num_expert_groups": 1}))
    assert free.expert_groups is None


@pytest.mark.sweep
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_fit_learns_and_leaves_a_fixed_bias_alone(task, batch, backend, dtype):
    keras.utils.set_random_seed(0)
    if task is DeepSeekV3CausalLM:
        router = {"balancing": [ExpertBias(0.0), LoadBalancingLoss(0.0001)]}
        model = make_model(task, dtype=dtype, router=router)
        biases = [router_of(model.backbone).expert_bias]
        biases[0].assign(np.linspace(0.0, 0.1, 8))
    else:
        model, biases = make_model(task, dtype=dtype), []
    model.compile(
        optimizer=keras.optimizers.Adam(0.02),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # On TensorFlow once with XLA, which takes a minute for it, and
        # otherwise without.
        jit_compile=backend == "jax"
        or (
            (backend, dtype) == ("tensorflow", "mixed_bfloat16")
            and task is DeepSeekV3CausalLM
        ),
    )
    labels = np.roll(batch["token_ids"], -1, axis=1)
    history = model.fit(
        batch, labels, epochs=8, batch_size=3, shuffle=False, verbose=0
    ).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < 0.8 * history[0]
    for bias in biases:
        np.testing.assert_allclose(
            ops.convert_to_numpy(bias), np.linspace(0.0, 0.1, 8), rtol=1e-6
        )


def fit_the_bias(batch, backend, epochs=1, **changes):
    """Train nothing but the bias of a model whose router prefers expert 0."""
    keras.utils.set_random_seed(0)
    model = make_model(
        DeepSeekV3CausalLM,
        num_expert_groups=1,
        num_limited_groups=1,
        **changes,
    )
    bias = router_of(model.backbone).expert_bias
    bias.assign([0.2, 0, 0, 0, 0, 0, 0, -0.2])
    model.compile(
        optimizer=keras.optimizers.SGD(0.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=backend == "jax",
    )
    history = model.fit(
        batch,
        batch["token_ids"],
        epochs=epochs,
        batch_size=3,
        verbose=0,
        callbacks=[RoutingMonitor()],
    ).history
    return ops.convert_to_numpy(bias), history


@pytest.mark.sweep
def test_fit_balances_by_the_bias_alone(batch, backend):
    bias, history = fit_the_bias(
        batch, backend, epochs=60, router={"balancing": ExpertBias(0.005)}
    )
    violations = history["max_violation"]
    # Expert 0 is half of all pairs, four times its part.
    assert violations[0] == pytest.approx(3.0)
    assert np.mean(violations[-5:]) < 1.0
    assert bias[0] < 0.15 and bias[7] > -0.15


@pytest.mark.sweep
@pytest.mark.parametrize("mode", [None, "full"])
def test_a_step_of_fit_moves_the_bias_once(batch, backend, mode):
    with keras.RematScope(mode=mode):
        bias, _ = fit_the_bias(batch, backend)
    np.testing.assert_allclose(bias[[0, 7]], [0.199, -0.199], rtol=1e-6)


@pytest.mark.sweep
def test_rematerialization_changes_nothing(batch, backend):
    def losses(mode):
        keras.utils.set_random_seed(0)
        with keras.RematScope(mode=mode):
            model = make_model(DeepSeekV3CausalLM, query_latent_dim=6)
        model.compile(
            optimizer=keras.optimizers.SGD(0.5),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=backend == "jax",
        )
        return model.fit(
            batch, batch["token_ids"], epochs=3, shuffle=False, verbose=0
        ).history["loss"]

    np.testing.assert_allclose(losses("full"), losses(None), rtol=1e-4)


@pytest.mark.sweep
def test_right_padding_does_not_change_real_tokens(task, batch):
    model = make_model(task)
    whole = model.predict_on_batch(batch)
    short = {name: values[1:2, :7] for name, values in batch.items()}
    alone = model.predict_on_batch(short)
    np.testing.assert_allclose(whole[1, :7], alone[0], atol=1e-5)


@pytest.mark.sweep
def test_keras_file_round_trip(task, batch, tmp_path):
    model = make_model(
        task, yarn={"scaling_factor": 4, "original_max_length": 8}
    )
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert type(copy) is task
    np.testing.assert_array_equal(
        copy.predict_on_batch(batch), model.predict_on_batch(batch)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_dense_layers": -1}, "`num_dense_layers` to be 0 or more"),
        ({"num_expert_groups": 3}, "`num_groups` to divide"),
        ({"num_limited_groups": 0}, "`num_limited`"),
        ({"yarn": {"factor": 2}}, "`yarn` to have fields"),
    ],
)
def test_bad_sizes_are_refused(task, change, message):
    with pytest.raises(ValueError, match=message):
        make_model(task, **change)
