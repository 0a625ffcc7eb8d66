"""Loading tiny Mixtral checkpoints that transformers wrote."""

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save_file

from keras_moe.checkpoints import CheckpointFolder
from keras_moe.checkpoints import load_checkpoint
from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM

LAYER = "model.layers.0"


@pytest.fixture
def reference(make_reference):
    return make_reference()


@pytest.fixture
def folder(reference, tmp_path):
    """Returns a folder with one file."""
    reference.save_pretrained(tmp_path / "published")
    return tmp_path / "published"


def load(folder, **arguments):
    return MixtralCausalLM.from_preset(folder, preprocessor=None, **arguments)


def change(folder, change_tensors):
    """Rewrite the tensors of a folder."""
    tensors = load_file(folder / "model.safetensors")
    change_tensors(tensors)
    save_file(tensors, folder / "model.safetensors")


def trained(model):
    return [np.array(each.numpy()) for each in model.trainable_variables]


# ---- what is loaded ---------------------------------------------------------


def test_logits_are_the_references(folder, reference, logits):
    np.testing.assert_allclose(
        logits(load(folder)), logits(reference), atol=1e-4
    )


@pytest.mark.parametrize("as_text", [True, False])
def test_backbones_and_tasks_take_text_and_paths(as_text, folder):
    path = str(folder) if as_text else folder
    backbone = MixtralBackbone.from_preset(path)
    task = load(path)
    for ours, theirs in zip(backbone.weights, task.weights, strict=False):
        np.testing.assert_array_equal(ours, theirs)


def test_shards_that_split_a_layers_experts_are_one_model(
    folder, reference, logits, tmp_path
):
    reference.save_pretrained(tmp_path / "shards", max_shard_size="6KB")
    index = CheckpointFolder(tmp_path / "shards")
    shard_of = json.loads(
        (index.path / "model.safetensors.index.json").read_text()
    )["weight_map"]
    shards = {
        shard
        for name, shard in shard_of.items()
        if name.startswith(f"{LAYER}.block_sparse_moe.experts")
    }
    assert len(shards) > 1
    np.testing.assert_array_equal(
        logits(load(tmp_path / "shards")), logits(load(folder))
    )


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_any_float_dtype_on_disk_is_read(dtype, folder, logits):
    def convert(tensors):
        for name in tensors:
            tensors[name] = tensors[name].astype(dtype)

    change(folder, convert)
    model = load(folder)
    norm = model.backbone.decoder_blocks[0].attention_norm.scale
    assert keras.backend.standardize_dtype(norm.dtype) == "float32"
    stored = load_file(folder / "model.safetensors")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(model.backbone.final_norm.scale),
        stored["model.norm.weight"].astype("float32"),
    )
    assert np.isfinite(logits(model)).all()


@pytest.mark.sweep
@pytest.mark.parametrize("on_disk", ["float32", "bfloat16"])
def test_the_dtype_is_chosen_at_load(on_disk, folder, reference, logits):
    def convert(tensors):
        for name in tensors:
            tensors[name] = tensors[name].astype(on_disk)

    change(folder, convert)
    model = load(folder, dtype="bfloat16")
    kernel = model.backbone.decoder_blocks[1].feed_forward.experts.down.kernel
    assert keras.backend.standardize_dtype(kernel.dtype) == "bfloat16"
    # All but the routers, which stay float32.
    others = {
        variable.path.rpartition("/")[0].rpartition("/")[2]
        for variable in model.trainable_variables
        if keras.backend.standardize_dtype(variable.dtype) != "bfloat16"
    }
    assert others == {"router"}
    name = "model.layers.1.block_sparse_moe.experts.2.w2.weight"
    theirs = load_file(folder / "model.safetensors")[name]
    ours = keras.ops.convert_to_numpy(keras.ops.cast(kernel, "float32"))
    np.testing.assert_array_equal(
        ours[2].T, theirs.astype(ml_dtypes.bfloat16).astype("float32")
    )
    # bfloat16 has 8 bits, and a router near a tie may choose another expert.
    difference = logits(model) - logits(reference)
    assert np.median(np.abs(difference)) < 0.1


def test_block_scales_are_multiplied_in(folder):
    name = f"{LAYER}.block_sparse_moe.experts.1.w1.weight"
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.01, 0.1, (2, 1)).astype("float32")
    # (24, 16) in blocks of (16, 16): the last is half a block.
    scale_of = np.repeat(scales, 16, axis=0)[:24]
    stored = {}

    def quantize(tensors):
        eight_bits = (tensors[name] / scale_of).astype(ml_dtypes.float8_e4m3fn)
        stored["scaled"] = eight_bits.astype("float32") * scale_of
        tensors[name] = eight_bits
        tensors[name + "_scale_inv"] = scales

    change(folder, quantize)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"weight_block_size": [16, 16]}
    (folder / "config.json").write_text(json.dumps(config))
    experts = load(folder).backbone.decoder_blocks[0].feed_forward.experts
    gate = keras.ops.convert_to_numpy(experts.gate_up.kernel)[1, :, :24]
    np.testing.assert_array_equal(gate.T, stored["scaled"])


def test_a_head_beside_tied_embeddings_is_spare(folder, make_reference, logits):
    tied = make_reference(tie_word_embeddings=True)
    tied.save_pretrained(folder)
    expected = logits(load(folder))
    np.testing.assert_allclose(expected, logits(tied), atol=1e-4)

    def add_head(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]

    change(folder, add_head)
    np.testing.assert_array_equal(logits(load(folder)), expected)


def test_weights_may_stay_random(folder):
    model = load(folder, load_weights=False)
    assert not np.array_equal(trained(model)[0], trained(load(folder))[0])


def test_the_file_may_change_once_it_is_read(folder, logits):
    model = load(folder)
    before = logits(model)
    file = folder / "model.safetensors"
    with open(file, "r+b") as stream:
        stream.write(bytes(os.path.getsize(file)))
    np.testing.assert_array_equal(logits(model), before)


# ---- what is refused leaves the model as it was -----------------------------


def lose_a_tensor(tensors):
    del tensors[f"{LAYER}.self_attn.q_proj.weight"]


def add_a_tensor(tensors):
    tensors["unknown"] = np.zeros(3, "float32")


def change_a_shape(tensors):
    name = "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    tensors[name] = np.ascontiguousarray(tensors[name].T)


def add_scales(tensors):
    name = "model.layers.1.self_attn.o_proj.weight_scale_inv"
    tensors[name] = np.ones((9, 9), "float32")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_a_tensor, r"1 missing \(model.layers.0.self_attn.q_proj.weight"),
        (add_a_tensor, r"1 without a partner \(unknown\)"),
        (change_a_shape, r"of .*experts.3.w2.weight. Received: \(24, 16\)"),
        (add_scales, r"scales of shape \(1, 1\) for .*o_proj.weight"),
    ],
)
def test_nothing_changes_before_everything_is_checked(
    damage, message, folder, make_model
):
    model = make_model()
    before = trained(model)
    change(folder, damage)
    with pytest.raises(ValueError, match=message):
        backbone = model.backbone
        load_checkpoint(
            backbone, CheckpointFolder(folder), backbone.checkpoint_format
        )
    for old, new in zip(before, trained(model), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_a_config_of_other_weights_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="without a partner .model.layers.1"):
        load(folder)


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_in_place_of_a_folder_is_refused(as_text, folder):
    path = folder / "model.safetensors"
    with pytest.raises(ValueError, match="Expected the folder.*a file"):
        load(str(path) if as_text else path)


def test_a_path_that_does_not_exist_is_refused(folder):
    with pytest.raises(ValueError, match="nowhere, which does not exist"):
        load(folder / "nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        load(str(folder / "nowhere"))


def test_a_folder_without_a_config_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="Expected config.json in the folder"):
        load(folder)


# ---- memory and devices -----------------------------------------------------


@pytest.mark.sweep
def test_a_large_checkpoint_is_read_piece_by_piece(tmp_path, monkeypatch):
    # Drawing 50 million numbers twice would take longer than the test.
    for module in ("decoder_backbone", "decoder_parts"):
        monkeypatch.setattr(
            f"keras_moe.models.{module}.kernel_initializer", lambda: "zeros"
        )
    sizes = {
        "vocabulary_size": 64,
        "num_layers": 12,
        "num_query_heads": 4,
        "num_key_value_heads": 4,
        "hidden_dim": 256,
        "intermediate_dim": 704,
        "num_experts": 8,
    }
    MixtralBackbone(**sizes).save_pretrained(tmp_path, max_shard_size=2**-6)
    files = list(tmp_path.glob("*.safetensors"))
    stored = sum(file.stat().st_size for file in files)
    assert len(files) > 10 and stored > 200e6
    backbone = MixtralBackbone(**sizes, dtype="bfloat16")
    gc.collect()
    # NumPy's memory. A variable may keep the array that it was given, on JAX
    # always, on TensorFlow by chance; that is the model's memory.
    tracemalloc.start()
    load_checkpoint(
        backbone, CheckpointFolder(tmp_path), backbone.checkpoint_format
    )
    kept, peak = tracemalloc.get_traced_memory()
    del backbone
    gc.collect()
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 1e6
    assert kept < stored / 2 + 1e6
    # The largest variable, and the copy that Keras makes of it on PyTorch: 4/3
    # of the experts of one layer.
    gate_up = 4 * 8 * 2 * 256 * 704
    assert peak < kept + 2 * gate_up + 4e6


DISTRIBUTED = """
import sys

import jax
import keras
import numpy as np

from keras_moe.models import MixtralCausalLM

assert jax.device_count() == 2
mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "experts"))
layout_map = keras.distribution.LayoutMap(mesh)
layout_map[".*experts/(gate_up|down)/kernel"] = ("experts", None, None)
keras.distribution.set_distribution(
    keras.distribution.ModelParallel(
        layout_map=layout_map, batch_dim_name="batch"
    )
)
model = MixtralCausalLM.from_preset(sys.argv[1], preprocessor=None)
sharded = 0
for block in model.backbone.decoder_blocks:
    experts = block.feed_forward.experts
    for kernel in (experts.gate_up.kernel, experts.down.kernel):
        shards = kernel.value.addressable_shards
        assert len({shard.device for shard in shards}) == 2
        half = (2, *kernel.shape[1:])
        assert all(shard.data.shape == half for shard in shards), kernel.path
        sharded += 1
assert sharded == 4
token_ids = np.random.default_rng(0).integers(1, 32, (2, 7)).astype("int32")
inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
np.save(sys.argv[2], np.asarray(model.predict_on_batch(inputs)))
"""


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_distributed_model_is_loaded_in_shards(
    folder, reference, logits, tmp_path, backend
):
    if backend != "jax":
        pytest.skip("keras.distribution shards on JAX only")
    (tmp_path / "child.py").write_text(DISTRIBUTED)
    flags = "--xla_force_host_platform_device_count=2"
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(
            filter(None, [root, os.environ.get("PYTHONPATH")])
        ),
    }
    output = tmp_path / "logits.npy"
    child = subprocess.run(
        [sys.executable, tmp_path / "child.py", folder, output],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    actual = np.load(output)
    np.testing.assert_allclose(actual, logits(reference), atol=1e-4)
    np.testing.assert_allclose(actual, logits(load(folder)), atol=1e-5)
