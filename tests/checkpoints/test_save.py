"""Saving tiny Mixtral checkpoints, whole and interrupted."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy
from safetensors.numpy import load_file

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.checkpoints import CheckpointFolder
from keras_moe.checkpoints.load import load_checkpoint
from keras_moe.checkpoints.rules import to_numpy
from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from keras_moe.routing import Capacity

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
SIZES = {
    "vocabulary_size": 32,
    "num_layers": 1,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "num_experts": 4,
}
# GiB that hold a third or so of the tiny model, and all of it.
SHARDED = 16 / 2**20
WHOLE = 5


def load(path):
    return MixtralCausalLM.from_preset(path, preprocessor=None)


def values(model):
    return [to_numpy(each) for each in model.trainable_variables]


def assert_same(first, second):
    for a, b in zip(values(first), values(second), strict=True):
        np.testing.assert_array_equal(a, b)


def tensors(path):
    """Read a folder as `from_preset` does, without a model."""
    folder = CheckpointFolder(path)
    return {name: np.array(folder.read(name)) for name in folder.shapes}


def same_tensors(first, second):
    return sorted(first) == sorted(second) and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


# ---- what is written --------------------------------------------------------


def test_a_model_that_fits_is_one_file(make_model, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path / "made" / "on the way")
    path = tmp_path / "made" / "on the way"
    assert sorted(contents(path)) == [CONFIG, WEIGHTS]
    assert_same(load(path), model)


def test_shards_have_the_published_names_and_an_index(make_model, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path, max_shard_size=SHARDED)
    index = json.loads((tmp_path / INDEX).read_text())
    shards = sorted(set(index["weight_map"].values()))
    count = len(shards)
    assert count > 2
    assert shards == [
        f"model-{number:05d}-of-{count:05d}.safetensors"
        for number in range(1, count + 1)
    ]
    assert sorted(contents(tmp_path)) == sorted([CONFIG, INDEX, *shards])
    found = {}
    for shard in shards:
        inside = load_file(tmp_path / shard)
        assert all(index["weight_map"][name] == shard for name in inside)
        size = sum(tensor.nbytes for tensor in inside.values())
        assert size <= SHARDED * 2**30 or len(inside) == 1
        found.update(inside)
    assert sorted(found) == sorted(index["weight_map"])
    total = sum(tensor.nbytes for tensor in found.values())
    assert index["metadata"]["total_size"] == total
    assert total == sum(value.nbytes for value in values(model))
    assert_same(load(tmp_path), model)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("size", [WHOLE, SHARDED, 1e-9])
def test_transformers_reads_every_size_of_shards(
    size, make_model, logits, tmp_path
):
    from transformers import MixtralForCausalLM

    model = make_model()
    model.save_pretrained(tmp_path, max_shard_size=size)
    theirs, report = MixtralForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report.values())
    np.testing.assert_allclose(logits(theirs.eval()), logits(model), atol=1e-4)


def test_shards_of_transformers_and_ours_are_alike(make_reference, tmp_path):
    make_reference().save_pretrained(tmp_path / "theirs")
    load(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    theirs = load_file(tmp_path / "theirs" / WEIGHTS)
    ours = load_file(tmp_path / "ours" / WEIGHTS)
    assert sorted(ours) == sorted(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.sweep
def test_bfloat16_is_saved_bit_by_bit(make_model, tmp_path):
    model = make_model(dtype="bfloat16")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["dtype"] == "bfloat16"
    stored = load_file(tmp_path / WEIGHTS)
    dtypes = {
        name: tensor.dtype.name
        for name, tensor in stored.items()
        if "gate" not in name
    }
    assert set(dtypes.values()) == {"bfloat16"}
    experts = model.backbone.decoder_blocks[0].feed_forward.experts
    name = "model.layers.0.block_sparse_moe.experts.1.w2.weight"
    np.testing.assert_array_equal(
        stored[name].view("uint16"),
        np.ascontiguousarray(to_numpy(experts.down.kernel)[1].T).view("uint16"),
    )
    loaded = MixtralCausalLM.from_preset(
        tmp_path, preprocessor=None, dtype="bfloat16"
    )
    assert_same(loaded, model)


def test_a_mixed_policy_saves_its_variables_dtype(make_model, tmp_path):
    make_model(dtype="mixed_bfloat16").save_pretrained(tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["dtype"] == "float32"
    assert load_file(tmp_path / WEIGHTS)["lm_head.weight"].dtype == np.float32


def test_other_files_of_the_folder_stay(make_model, tmp_path):
    others = {
        "tokenizer.json": b"{}",
        "model-card.md": b"words",
        "model.fp16.safetensors": b"another",
        "pytorch_model.bin": b"",
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    for size in (SHARDED, WHOLE):
        make_model().save_pretrained(tmp_path, max_shard_size=size)
        after = contents(tmp_path)
        assert {name: after[name] for name in others} == others


def test_a_path_may_be_text(make_model, tmp_path):
    make_model().save_pretrained(str(tmp_path / "text"))
    assert CheckpointFolder(str(tmp_path / "text")).config


# ---- over an older checkpoint -----------------------------------------------


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("before", [SHARDED, WHOLE])
@pytest.mark.parametrize("after", [SHARDED / 2, SHARDED, WHOLE])
def test_nothing_of_an_older_checkpoint_stays(
    before, after, make_model, tmp_path
):
    make_model().save_pretrained(tmp_path, max_shard_size=before)
    model = make_model()
    model.save_pretrained(tmp_path, max_shard_size=after)
    assert_same(load(tmp_path), model)
    names = set(contents(tmp_path)) - {CONFIG}
    if after == WHOLE:
        assert names == {WEIGHTS}
    else:
        index = json.loads((tmp_path / INDEX).read_text())
        assert names == {INDEX, *index["weight_map"].values()}


@pytest.mark.sweep
def test_transformers_reads_what_was_saved_again_and_again(
    make_model, logits, tmp_path
):
    from transformers import MixtralForCausalLM

    for _ in range(3):
        model = make_model()
        model.save_pretrained(tmp_path, max_shard_size=SHARDED)
        theirs = MixtralForCausalLM.from_pretrained(tmp_path).eval()
        np.testing.assert_allclose(logits(theirs), logits(model), atol=1e-4)


def test_a_model_is_saved_over_the_files_it_came_from(make_model, tmp_path):
    make_model().save_pretrained(tmp_path, max_shard_size=SHARDED)
    model = load(tmp_path)
    before = values(model)
    model.save_pretrained(tmp_path, max_shard_size=SHARDED)
    for old, new in zip(before, values(load(tmp_path)), strict=True):
        np.testing.assert_array_equal(old, new)


class Interruption(BaseException):
    """What nobody catches by its name, such as a KeyboardInterrupt."""


def interrupt(function, times):
    """Let `function` work `times` times, then never again.

    Functions that are given one iterator instead count together.
    """
    calls = iter(range(times)) if isinstance(times, int) else times

    def wrapped(*args, **kwargs):
        if next(calls, None) is None:
            raise Interruption
        return function(*args, **kwargs)

    return wrapped


STEPS = {
    "save_file": (safetensors.numpy, "save_file"),
    "replace": (os, "replace"),
    "write_text": (Path, "write_text"),
}


@pytest.mark.sweep(first=2)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [SHARDED, WHOLE])
@pytest.mark.parametrize("before", [None, SHARDED, WHOLE])
def test_an_interrupted_save_leaves_all_as_it_was(
    before, after, step, make_model, tmp_path, monkeypatch
):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "tokenizer.json").write_text("{}")
    if before is not None:
        make_model().save_pretrained(path, max_shard_size=before)
    model = make_model(rope_max_wavelength=1e4)
    as_it_was = contents(path)
    owner, name = STEPS[step]
    for times in range(100):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, interrupt(getattr(owner, name), times))
            try:
                model.save_pretrained(path, max_shard_size=after)
            except Interruption:
                assert contents(path) == as_it_was
                continue
        break
    # One for config.json, one or more for the weights.
    assert times > (after == SHARDED)
    assert not list(path.glob(".unfinished-*"))
    model.save_pretrained(tmp_path / "new")
    assert same_tensors(tensors(path), tensors(tmp_path / "new"))
    assert CheckpointFolder(path).config["rope_theta"] == 1e4


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("after", [SHARDED, WHOLE])
@pytest.mark.parametrize("before", [SHARDED, WHOLE])
def test_a_save_cut_off_for_good_leaves_one_of_two_checkpoints(
    before, after, make_model, tmp_path, monkeypatch
):
    # Without a chance to tidy up, as when the process is killed.
    model = make_model()
    make_model().save_pretrained(tmp_path / "old", max_shard_size=before)
    model.save_pretrained(tmp_path / "new")
    old, new = tensors(tmp_path / "old"), tensors(tmp_path / "new")
    found = []
    for times in range(100):
        path = tmp_path / f"cut {times}"
        shutil.copytree(tmp_path / "old", path)
        left = iter(range(times))
        with monkeypatch.context() as patch:
            for owner, name in ((os, "replace"), (Path, "unlink")):
                function = interrupt(getattr(owner, name), left)
                patch.setattr(owner, name, function)
            patch.setattr(Path, "write_bytes", interrupt(None, 0))
            patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
            try:
                model.save_pretrained(path, max_shard_size=after)
            except Interruption:
                pass
            else:
                break
        found.append("new" if same_tensors(tensors(path), new) else "old")
        assert same_tensors(tensors(path), new if found[-1] == "new" else old)
        # The next attempt succeeds, and tidies up.
        model.save_pretrained(path, max_shard_size=after)
        assert same_tensors(tensors(path), new)
    assert same_tensors(tensors(path), new)
    # First the older one, then the new one, and never back.
    assert found == sorted(found, reverse=True) and found[0] == "old"


# Imports once. For each line of its input it forks, and kills who saves.
KILLED = """
import os
import signal
import sys
import time
from keras_moe.models import MixtralBackbone

def save_again_and_again(size):
    turn = 0
    while True:
        turn += 1
        backbone = MixtralBackbone(
            vocabulary_size=32, num_layers=1, num_query_heads=4,
            num_key_value_heads=2, hidden_dim=16, intermediate_dim=24,
            num_experts=4, rope_max_wavelength=float(turn),
        )
        backbone.token_embedding.embeddings.assign(
            backbone.token_embedding.embeddings * 0.0 + float(turn)
        )
        backbone.save_pretrained(sys.argv[1], max_shard_size=size)

for line in sys.stdin:
    size, seconds = map(float, line.split())
    child = os.fork()
    if child == 0:
        save_again_and_again(size)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    print("killed", flush=True)
"""


@pytest.mark.once
@pytest.mark.exhaustive
def test_a_killed_process_leaves_settings_and_weights_that_belong_together(
    tmp_path,
):
    rng = np.random.default_rng(0)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "KERAS_BACKEND": "torch"},
        text=True,
    ) as process:
        for turn in range(4):
            size = (SHARDED, WHOLE)[turn % 2]
            process.stdin.write(f"{size} {rng.uniform(0.5, 1.5)}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "killed\n"
            embedding = tensors(tmp_path)["model.embed_tokens.weight"]
            theta = CheckpointFolder(tmp_path).config["rope_theta"]
            np.testing.assert_array_equal(embedding, theta)
        process.stdin.close()
    MixtralBackbone(**SIZES).save_pretrained(tmp_path)
    assert sorted(contents(tmp_path)) == [CONFIG, WEIGHTS]


# ---- what is refused --------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True])
def test_a_path_that_is_a_file_is_refused(inside, make_model, tmp_path):
    file = tmp_path / "file"
    file.write_text("words")
    path = file / "folder" if inside else file
    with pytest.raises(
        ValueError, match="Expected a folder.*is a file"
    ) as error:
        make_model().save_pretrained(path)
    assert str(path) in str(error.value)
    assert contents(tmp_path) == {"file": b"words"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"expert_layer_stride": 2},
        {"rope_scaling_factor": 2.0},
        {"router": {"capacity": Capacity(eval_factor=1.0)}},
    ],
    ids=repr,
)
def test_what_the_format_cannot_express_is_refused(
    arguments, make_model, tmp_path
):
    (name,) = arguments
    path = tmp_path / "folder"
    with pytest.raises(ValueError, match=f"can express. Received: {name}="):
        make_model(**arguments).save_pretrained(path)
    assert not path.exists()


def test_what_only_training_needs_is_no_hindrance(make_model, tmp_path):
    model = make_model(
        dropout=0.1,
        router={
            "jitter_noise": 0.1,
            "balancing": LoadBalancingLoss(0.5),
            "capacity": Capacity(factor=2.0),
        },
    )
    model.save_pretrained(tmp_path)
    assert_same(load(tmp_path), model)


@pytest.mark.parametrize("size", [0, -1, "5GB", None])
def test_a_size_that_is_no_size_is_refused(size, make_model, tmp_path):
    with pytest.raises(ValueError, match="max_shard_size="):
        make_model().save_pretrained(tmp_path / "folder", max_shard_size=size)
    assert not (tmp_path / "folder").exists()


@pytest.mark.sweep
@pytest.mark.filterwarnings(
    "ignore:The experts stay float32",
    "ignore:Invalid quantization mode",  # float8 is not for embeddings.
)
# With float8 the weights stay float32, and have scales next to them.
@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
@pytest.mark.usefixtures("no_collections")
def test_a_quantized_model_is_refused(make_model, tmp_path, mode):
    backbone = make_model().backbone
    backbone.save_pretrained(tmp_path / "before")
    backbone.quantize(mode)
    with pytest.raises(ValueError, match="quantized in .*kernel"):
        backbone.save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    before = CheckpointFolder(tmp_path / "before")
    with pytest.raises(ValueError, match="quantized in .*kernel"):
        load_checkpoint(backbone, before, backbone.checkpoint_format)


def without_a_rule(monkeypatch):
    """Takes the embedding's rule from Mixtral's table."""
    checkpoint_format = MixtralBackbone.checkpoint_format
    assert checkpoint_format.rules[0].ours == ("token_embedding.embeddings",)
    changed = checkpoint_format._replace(rules=checkpoint_format.rules[1:])
    monkeypatch.setattr(MixtralBackbone, "checkpoint_format", changed)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_variable_without_a_rule_is_refused(
    make_model, tmp_path, monkeypatch, trainable
):
    backbone = make_model().backbone
    backbone.trainable = trainable
    without_a_rule(monkeypatch)
    with pytest.raises(ValueError, match="Expected a rule for every variable"):
        backbone.save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_frozen_model_is_loaded_whole_or_not_at_all(
    make_model, tmp_path, monkeypatch
):
    backbone = make_model().backbone
    backbone.save_pretrained(tmp_path)
    frozen = make_model().backbone
    frozen.trainable = False
    folder = CheckpointFolder(tmp_path)
    load_checkpoint(frozen, folder, frozen.checkpoint_format)
    for ours, theirs in zip(frozen.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))
    kept = tensors(tmp_path)
    del kept["model.norm.weight"]
    safetensors.numpy.save_file(kept, tmp_path / WEIGHTS)
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(ValueError, match=r"1 missing \(model.norm.weight\)"):
        load_checkpoint(frozen, folder, frozen.checkpoint_format)
    # A table without the rule would leave the weight as it was made.
    without_a_rule(monkeypatch)
    kept["model.norm.weight"] = kept["model.layers.0.input_layernorm.weight"]
    del kept["model.embed_tokens.weight"]
    safetensors.numpy.save_file(kept, tmp_path / WEIGHTS)
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(ValueError, match="Expected a rule for every variable"):
        load_checkpoint(frozen, folder, frozen.checkpoint_format)


def test_adapters_are_merged_into_what_is_written(make_model, logits, tmp_path):
    model = make_model()
    attention = model.backbone.decoder_blocks[1].attention
    key = to_numpy(attention.key.kernel)
    model.backbone.enable_lora(2, ["query", "key", "token_embedding"])
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, 0.3, variable.shape))
    adapted = logits(model)
    model.save_pretrained(tmp_path)
    first, second = (
        to_numpy(each)
        for each in (attention.key.lora_kernel_a, attention.key.lora_kernel_b)
    )
    # Rank and alpha are both 2: the adapters count once. (H, M, D) -> (M D, H)
    merged = key + np.einsum("hmr,rd->hmd", first, second)
    stored = tensors(tmp_path)["model.layers.1.self_attn.k_proj.weight"]
    np.testing.assert_allclose(
        stored, merged.reshape(len(key), -1).T, rtol=0, atol=1e-6
    )
    # Two orders of summation over 16 features of size 1.
    np.testing.assert_allclose(logits(load(tmp_path)), adapted, atol=1e-4)
    # The model in memory is the one that was trained.
    np.testing.assert_allclose(logits(model), adapted, atol=1e-6)
    assert not any("lora" in name for name in tensors(tmp_path))


def test_a_checkpoint_replaces_a_weight_and_its_adapters(make_model, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path)
    other = make_model().backbone
    other.enable_lora(2)
    for variable in other.trainable_variables:
        variable.assign(np.ones(variable.shape))
    load_checkpoint(other, CheckpointFolder(tmp_path), other.checkpoint_format)
    other.save_pretrained(tmp_path / "again")
    assert same_tensors(tensors(tmp_path), tensors(tmp_path / "again"))


def test_frozen_weights_are_saved_too(make_model, tmp_path):
    model = make_model()
    expected = values(model)
    model.trainable = False
    model.save_pretrained(tmp_path)
    for old, new in zip(expected, values(load(tmp_path)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_backbone_is_saved_as_its_task_is(make_model, tmp_path):
    model = make_model()
    model.backbone.save_pretrained(tmp_path)
    loaded = MixtralBackbone.from_preset(tmp_path)
    assert isinstance(loaded, keras.Model)
    assert_same(loaded, model.backbone)
