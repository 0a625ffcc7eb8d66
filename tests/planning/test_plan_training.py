"""Plans, made for a CPU in place of TPUs."""

import collections
import importlib

import keras
import pytest

from keras_moe.models import parameter_counts
from keras_moe.models import preset
from keras_moe.models.registry import PRESETS
from keras_moe.planning import plan_training
from keras_moe.planning.chips import GIB
from keras_moe.planning.chips import Slice

Program = collections.namedtuple(
    "Program", "text arguments results in_place temporary code"
)

# The function of that name hides it.
MODULE = importlib.import_module("keras_moe.planning.plan_training")
TINY = {
    "vocabulary_size": 16,
    "num_layers": 1,
    "hidden_dim": 8,
    "intermediate_dim": 8,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "num_experts": 2,
}


@pytest.fixture
def on_one_cpu(monkeypatch, backend):
    """Plan for this machine's CPU, and know a tiny model."""
    if backend != "jax":
        pytest.skip("TPUs run JAX")
    import jax

    pod = Slice("v5p:1x1x1", jax.devices("cpu")[:1], 1, GIB)
    monkeypatch.setattr(MODULE, "open_slice", lambda topology: pod)
    backbone_class, config = preset("mixtral_8x7b")
    monkeypatch.setitem(PRESETS, "tiny", (backbone_class, {**config, **TINY}))


def test_a_whole_model_needs_its_weights_slots_and_batch(on_one_cpu):
    plan = plan_training(
        "tiny",
        "v5p:1x1x1",
        batch=2,
        sequence_length=8,
        dtype="float32",
        depths=None,
    )
    counts = parameter_counts("tiny")
    # Weights and AdamW's two slots of four bytes; ids, mask and targets of
    # 2 x 8 tokens; counters of each layer.
    expected = 12 * counts.total + 2 * 8 * 12
    assert 0 <= plan.memory["weights and slots"] - expected < 1000
    assert plan.memory["temporary"] > 0 and plan.fits
    assert plan.parameters == counts.total and plan.devices == 1
    # Forward and twice as much backward, for 16 tokens.
    assert plan.flops == 3 * 16 * counts.flops_per_token
    assert not plan.is_extrapolated
    # Nothing was made that a later model would meet.
    keras.layers.Dense(2)(keras.ops.ones((1, 2)))


def test_two_depths_tell_of_the_whole_model(on_one_cpu, monkeypatch, program):
    def compile_training_step(backbone_class, config, *arguments):
        # 1000 bytes, and 10 more for each layer.
        return Program("", 1000 + 10 * config["num_layers"], 7, 7, 0, 0)

    monkeypatch.setattr(MODULE, "compile_training_step", compile_training_step)
    monkeypatch.setattr(
        "keras_moe.planning.measured.read_computations", lambda text: program
    )
    monkeypatch.setitem(PRESETS["tiny"][1], "num_layers", 9)
    reports = []
    plan = plan_training("tiny", "v5p:1x1x1", batch=1, report=reports.append)
    assert plan.is_extrapolated and plan.compiled_layers == [2, 4]
    assert plan.needed == 1090
    assert plan.collectives["collective-permute"].times == 3
    assert reports == [
        "compiling 2 of 9 layers for v5p:1x1x1",
        "compiling 4 of 9 layers for v5p:1x1x1",
    ]


def test_a_batch_is_divided_evenly(on_one_cpu):
    with pytest.raises(ValueError, match="positive integer. Received: batch=0"):
        plan_training("tiny", "v5p:1x1x1", batch=0)


def test_a_mesh_has_as_many_devices_as_the_slice(on_one_cpu):
    with pytest.raises(ValueError, match="expert=4, 1 devices"):
        plan_training("tiny", "v5p:1x1x1", batch=1, expert=4)


def test_a_program_that_xla_finds_too_large_is_one_sentence(
    on_one_cpu, monkeypatch
):
    def compile_training_step(*arguments):
        raise MemoryError("RESOURCE_EXHAUSTED: Used 120G of 95G hbm.")

    monkeypatch.setattr(MODULE, "compile_training_step", compile_training_step)
    message = "num_layers=1.*120G of 95G.*Choose more"
    with pytest.raises(ValueError, match=message):
        plan_training("tiny", "v5p:1x1x1", batch=1, depths=None)


def test_another_backend_is_refused(backend):
    if backend == "jax":
        pytest.skip("this is the one that is not refused")
    with pytest.raises(NotImplementedError, match="Set KERAS_BACKEND=jax"):
        plan_training("mixtral_8x7b", "v5p:4x4x4", batch=64)


def test_a_model_without_next_tokens_is_refused(on_one_cpu):
    with pytest.raises(ValueError, match="switch_base_8, a SwitchBackbone"):
        plan_training("switch_base_8", "v5p:4x4x4", batch=64)
