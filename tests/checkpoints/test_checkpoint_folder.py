"""Folders as they are published, and as they must not be."""

import json
import os
import re
import shlex
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_moe.checkpoints.checkpoint_folder import CheckpointFolder
from keras_moe.checkpoints.checkpoint_folder import read_json
from keras_moe.checkpoints.checkpoint_folder import shorten

# Files and NumPy, no tensor of a backend.
pytestmark = pytest.mark.once

A = {"a": np.arange(6, dtype="float32").reshape(2, 3)}
B = {"b": np.ones(3, ml_dtypes.bfloat16), "c": np.zeros((), "float16")}


def refuse(folder, match):
    with pytest.raises(ValueError, match=match) as error:
        CheckpointFolder(folder)
    return str(error.value)


# ---- what is whole ----------------------------------------------------------


def test_one_file_is_read(write_folder):
    folder = CheckpointFolder(write_folder({**A, **B}, config={"x": 1}))
    assert folder.config == {"x": 1}
    assert folder.shapes == {"a": (2, 3), "b": (3,), "c": ()}
    assert folder.nbytes == 24 + 6 + 2
    np.testing.assert_array_equal(folder.read("a"), A["a"])
    assert folder.read("b").dtype == ml_dtypes.bfloat16


def test_shards_are_read(write_folder):
    folder = CheckpointFolder(write_folder(A, B))
    assert folder.shapes == {"a": (2, 3), "b": (3,), "c": ()}
    np.testing.assert_array_equal(folder.read("a"), A["a"])
    np.testing.assert_array_equal(folder.read("b"), B["b"])


def test_a_path_may_be_text(write_folder):
    assert CheckpointFolder(str(write_folder(A))).shapes == {"a": (2, 3)}


def test_shards_may_be_links_to_another_folder(write_folder, tmp_path):
    # As the cache of huggingface_hub has them.
    folder = write_folder(A, B)
    elsewhere = tmp_path / "blob"
    os.replace(folder / "shard-0.safetensors", elsewhere)
    (folder / "shard-0.safetensors").symlink_to(elsewhere)
    np.testing.assert_array_equal(CheckpointFolder(folder).read("a"), A["a"])


def test_a_single_file_comes_before_an_index(write_folder):
    # As in transformers; both are there while one replaces the other.
    folder = write_folder(A, B)
    save_file({"a": np.zeros(1)}, folder / "model.safetensors")
    assert CheckpointFolder(folder).shapes == {"a": (1,)}


def test_config_is_read_as_utf8(write_folder):
    folder = write_folder(A)
    (folder / "config.json").write_bytes('{"name": "ä层"}'.encode())
    assert CheckpointFolder(folder).config == {"name": "ä层"}


# ---- block scales -----------------------------------------------------------


def scaled(**more):
    weight = np.arange(1, 13).reshape(4, 3).astype(ml_dtypes.float8_e4m3fn)
    return {
        "w.weight": weight,
        "w.weight_scale_inv": np.array([[2.0, 3.0], [5.0, 7.0]], "float32"),
        **more,
    }


BLOCKS_OF_TWO = {"quantization_config": {"weight_block_size": [2, 2]}}


def test_scaled_weights_come_as_float32(write_folder):
    path = write_folder(scaled(**A), config=BLOCKS_OF_TWO)
    folder = CheckpointFolder(path)
    assert folder.shapes == {"w.weight": (4, 3), "a": (2, 3)}
    actual = folder.read("w.weight")
    assert actual.dtype == np.float32
    # Columns 0 and 1 are one block, column 2 is another.
    expected = np.array([[2, 2, 3], [2, 2, 3], [5, 5, 7], [5, 5, 7]])
    expected = expected * np.arange(1, 13).reshape(4, 3)
    np.testing.assert_array_equal(actual, expected)


def test_scales_may_be_in_another_shard(write_folder):
    tensors = scaled()
    scales = {"w.weight_scale_inv": tensors.pop("w.weight_scale_inv")}
    folder = CheckpointFolder(
        write_folder(tensors, scales, config=BLOCKS_OF_TWO)
    )
    assert folder.read("w.weight")[3, 2] == 12 * 7


@pytest.mark.parametrize(
    "quantization", [{}, None, {"weight_block_size": None}]
)
def test_blocks_are_128_wide_unless_the_config_says_so(
    quantization, write_folder
):
    tensors = scaled()
    tensors["w.weight_scale_inv"] = np.array([[3.0]], "float32")
    config = {"quantization_config": quantization}
    folder = CheckpointFolder(write_folder(tensors, config=config))
    assert folder.read("w.weight")[3, 2] == 12 * 3


def test_scales_that_do_not_fit_are_found_before_anything_is_read(
    write_folder,
):
    message = refuse(write_folder(scaled()), r"shape \(1, 1\)")
    assert "w.weight" in message and "weight_block_size" in message


@pytest.mark.parametrize(
    "size", [2, "22", [2], [2, 0], [2.0, 2], [True, 2], {}]
)
def test_a_block_size_of_another_form_is_refused(size, write_folder):
    config = {"quantization_config": {"weight_block_size": size or {"a": 1}}}
    refuse(write_folder(scaled(), config=config), "two positive ints in .*json")


def test_scales_without_a_weight_are_a_tensor_like_others(write_folder):
    tensors = {"w_scale_inv": np.ones((1, 1))}
    folder = CheckpointFolder(write_folder(tensors))
    assert folder.shapes == {"w_scale_inv": (1, 1)}


# ---- what is not a folder ---------------------------------------------------


def test_a_missing_folder_is_named(tmp_path):
    message = refuse(tmp_path / "nowhere", "no such folder")
    assert str(tmp_path / "nowhere") in message


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refuse(tmp_path / "file", "a file")


def test_a_missing_config_is_named(write_folder):
    folder = write_folder(A)
    (folder / "config.json").unlink()
    refuse(folder, "Expected a JSON file at .*config.json")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"not JSON", b"[" * 10**5],
    ids=["empty", "cut", "no text", "text", "deep"],
)
@pytest.mark.parametrize(
    "file", ["config.json", "model.safetensors.index.json"]
)
def test_what_is_not_json_is_refused(file, content, write_folder):
    folder = write_folder(A, B)
    (folder / file).write_bytes(content)
    refuse(folder, f"Expected a JSON file at .*{file}")


@pytest.mark.parametrize("content", ["[]", "null", "3", '"x"'])
@pytest.mark.parametrize(
    "file", ["config.json", "model.safetensors.index.json"]
)
def test_json_that_is_no_object_is_refused(file, content, write_folder):
    folder = write_folder(A, B)
    (folder / file).write_text(content)
    refuse(folder, f"Expected a JSON object in .*{file}")


def test_a_folder_without_weights_says_what_is_there(write_folder):
    folder = write_folder(A)
    os.replace(folder / "model.safetensors", folder / "other.safetensors")
    refuse(folder, "model.safetensors or .*Received: .*other.safetensors")


def test_a_damaged_file_is_named(write_folder):
    folder = write_folder(A, B)
    file = folder / "shard-1.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert str(file) in refuse(folder, "whole safetensors file")


# ---- indexes ----------------------------------------------------------------


def test_a_missing_shard_is_named(write_folder):
    folder = write_folder(A, B)
    (folder / "shard-1.safetensors").unlink()
    refuse(folder, "Expected the shard shard-1.safetensors in")


def test_a_folder_in_place_of_a_shard_is_refused(write_folder):
    folder = write_folder(A, B)
    (folder / "shard-1.safetensors").unlink()
    (folder / "shard-1.safetensors").mkdir()
    refuse(folder, "Expected the shard shard-1.safetensors in")


@pytest.mark.parametrize(
    "shard",
    [
        "../secret",
        "..",
        ".",
        "",
        "/etc/hostname",
        "a/b",
        "a/../shard-0.safetensors",
        "./shard-0.safetensors",
        "shard-0.safetensors/",
        "a\\b",
        "..\\secret",
        "C:\\secret",
        "C:secret",
        "\\\\host\\share\\secret",
    ],
)
def test_a_shard_outside_of_the_folder_is_refused(
    shard, write_folder, tmp_path
):
    save_file(A, tmp_path / "secret")
    message = refuse(
        write_folder(A, weight_map={"a": shard}), "Do not trust this folder"
    )
    assert repr(shard) in message


@pytest.mark.parametrize(
    "shard", ["\0", "x" * 300, "\ud800"], ids=["zero", "long", "half"]
)
def test_a_shard_that_cannot_be_a_file_is_refused(shard, write_folder):
    refuse(write_folder(A, weight_map={"a": shard}), "no such file")


def test_names_that_a_shard_lacks_are_listed(write_folder):
    folder = write_folder(
        A,
        weight_map={
            name: "shard-0.safetensors" for name in ("a", "lost", "gone")
        },
    )
    refuse(folder, "Received: no lost, gone. Download it again")


def test_what_the_index_does_not_list_is_not_there(write_folder):
    weight_map = {"a": "shard-0.safetensors"}
    folder = CheckpointFolder(write_folder({**A, **B}, weight_map=weight_map))
    assert folder.shapes == {"a": (2, 3)}


@pytest.mark.parametrize(
    "weight_map",
    [[], "a", 3, {"a": 1}, {"a": None}, {"a": ["shard-0.safetensors"]}]
    + [{"a": "shard-0.safetensors", "b": {}}],
    ids=repr,
)
def test_a_weight_map_of_another_form_is_refused(weight_map, write_folder):
    refuse(
        write_folder(A, weight_map=weight_map),
        "Expected a `weight_map` of .*index.json. Received: the keys metadata",
    )


def test_an_index_without_a_weight_map_is_refused(write_folder):
    folder = write_folder(A, B)
    (folder / "model.safetensors.index.json").write_text('{"other": 1}')
    refuse(folder, "Received: the keys other")


# ---- pickles ----------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["pytorch_model.bin", "x.pt", "y.pth", "z.ckpt"]
)
def test_a_pickle_is_refused_and_not_opened(file, write_folder):
    folder = write_folder(A)
    os.replace(folder / "model.safetensors", folder / file)
    os.chmod(folder / file, 0)
    refuse(folder, f"the pickle {file}, which can run any code")


def test_a_pickle_beside_safetensors_does_no_harm(write_folder):
    folder = write_folder(A)
    (folder / "training_args.bin").write_bytes(b"")
    assert CheckpointFolder(folder).shapes == {"a": (2, 3)}


@pytest.mark.parametrize(
    "architectures",
    [None, [], "x", [3], ["X as M; evil() #"], ["$(evil)"], ["X\n"], ["X'"]],
    ids=repr,
)
def test_the_conversion_quotes_nothing_that_a_shell_would_run(
    architectures, write_folder
):
    folder = write_folder(A, config={"architectures": architectures})
    os.replace(folder / "model.safetensors", folder / "pytorch_model.bin")
    message = refuse(folder, "import AutoModelForCausalLM as M;")
    assert "evil" not in message


@pytest.mark.exhaustive
@pytest.mark.timeout(300)
@pytest.mark.parametrize("named", [True, False])
def test_the_conversion_that_is_named_converts(
    named, make_reference, logits, tmp_path
):
    import torch

    reference = make_reference()
    old, new = tmp_path / "old", tmp_path / "new"
    reference.save_pretrained(old, save_original_format=False)
    (old / "model.safetensors").unlink()
    torch.save(reference.state_dict(), old / "pytorch_model.bin")
    config = read_json(old / "config.json")
    if not named:
        del config["architectures"]
    (old / "config.json").write_text(json.dumps(config))
    message = refuse(old, "Received: the pickle pytorch_model.bin")
    (line,) = re.findall(r'python -c ".*"', message)
    line = line.replace("NEW_FOLDER", str(new)).replace("FOLDER", str(old))
    _, *arguments = shlex.split(line)
    subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True
    )
    # The head came along.
    from keras_moe.models import MixtralCausalLM

    model = MixtralCausalLM.from_preset(new, preprocessor=None)
    np.testing.assert_allclose(logits(model), logits(reference), atol=1e-4)


# ---- helpers ----------------------------------------------------------------


def test_many_names_are_shortened():
    assert shorten("abc") == "a, b, c"
    assert shorten("abc", 3) == "a, b, c"
    assert shorten("abcd", 3) == "a, b, c and 1 more"
    assert shorten([]) == ""
    assert shorten(iter([1, 2]), 1) == "1 and 1 more"
