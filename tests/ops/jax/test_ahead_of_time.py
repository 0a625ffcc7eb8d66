"""What is compiled ahead of time."""

import sys

import keras
import pytest

if keras.config.backend() != "jax":
    pytest.skip("JAX compiles ahead of time", allow_module_level=True)

from keras_moe.ops.jax import ahead_of_time


def test_jax_describes_topologies():
    # If this fails: `jax.experimental.topologies` is gone. Look for its public
    # name in JAX's changes, and import that in ahead_of_time.py.
    assert callable(ahead_of_time.topologies.get_topology_desc)


def test_a_variable_knows_its_layout():
    # If this fails: Keras calls `_layout` otherwise. Optimizers hand it to
    # their slots, see `add_variable_from_reference` in Keras.
    assert keras.Variable([1.0])._layout is None


def test_without_libtpu_a_sentence_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(
        ahead_of_time.importlib.util, "find_spec", lambda name: None
    )
    with pytest.raises(ImportError, match=r"pip install 'keras-moe\[tpu\]'"):
        ahead_of_time.find_libtpu()


def test_finds_libtpu_next_to_the_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    library = tmp_path / "libtpu" / "libtpu" / "libtpu.so"
    library.parent.mkdir(parents=True)
    library.touch()
    assert ahead_of_time.find_libtpu() == library
