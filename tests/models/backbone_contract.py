"""What every decoder-only backbone is tested for.

A test class of an architecture inherits from `BackboneContract` and says which
arguments it has beyond the common ones. That they change the numbers as they
should is the matter of `tests.models.contract`.
"""

import inspect

import numpy as np
import pytest

from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.layers import FeedForward
from keras_moe.routing import Capacity

SMALL = {
    "vocabulary_size": 48,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "num_experts": 4,
}
# What all have, each unlike its default.
SETTINGS = {
    "top_k": 3,
    "rope_max_wavelength": 500.0,
    "layer_norm_epsilon": 1e-4,
    "dropout": 0.1,
    "router": {
        "jitter_noise": 0.2,
        "balancing": [LoadBalancingLoss(0.3), RouterZLoss(0.4)],
        "capacity": Capacity(1.5, 2.5),
    },
    "dtype": "mixed_bfloat16",
}


def routed_part(block):
    """Return a sparse layer's `SparseMoE`, without the shared experts."""
    return getattr(block.feed_forward, "routed_experts", block.feed_forward)


class BackboneContract:
    """The tests; a subclass sets what comes first here.

    Attributes:
        backbone: our backbone class.
        presets: its presets.
        small: arguments, all that have no default.
        settings: arguments of this architecture beyond `SETTINGS`, unlike
            their defaults.
        sparse_layers: indices of the sparse layers with these settings.
        with_losses: (arguments beyond `small`, number of sparse layers that
            they make).
        not_positive: (name, size) of arguments that are refused.
    """

    backbone = None
    presets: dict = {}
    small = SMALL
    settings: dict = {}
    sparse_layers: tuple = (0, 1)
    with_losses: tuple = ({}, 2)
    not_positive: tuple = (("num_layers", 0), ("hidden_dim", -1))

    @classmethod
    def make(cls, **arguments):
        return cls.backbone(**{**cls.small, **arguments})

    @classmethod
    def original_and_copy(cls):
        """Make a backbone with all settings, and another of its config."""
        original = cls.make(**{**SETTINGS, **cls.settings})
        return original, cls.backbone.from_config(original.get_config())

    @classmethod
    def sparse_blocks(cls):
        """Return the copy's blocks that have experts."""
        _, copy = cls.original_and_copy()
        return [copy.decoder_blocks[index] for index in cls.sparse_layers]

    # ---- tests

    def pytest_generate_tests(self, metafunc):
        if "preset" in metafunc.fixturenames:
            metafunc.parametrize("preset", self.presets)
        if "size" in metafunc.fixturenames:
            metafunc.parametrize(("name", "size"), self.not_positive)

    @pytest.mark.sweep
    def test_config_round_trip(self):
        original, copy = self.original_and_copy()
        assert copy.get_config() == original.get_config()
        assert copy.count_params() == original.count_params()

    @pytest.mark.once
    def test_settings_reach_all_layers(self):
        _, copy = self.original_and_copy()
        sparse = []
        for index, block in enumerate(copy.decoder_blocks):
            assert block.dropout == 0.1
            assert block.layer_norm_epsilon == 1e-4
            assert block.attention.rope_max_wavelength == 500.0
            if not isinstance(block.feed_forward, FeedForward):
                sparse.append(index)
        assert tuple(sparse) == self.sparse_layers

    @pytest.mark.once
    def test_settings_reach_the_experts_and_their_router(self):
        for block in self.sparse_blocks():
            moe = routed_part(block)
            assert moe.top_k == moe.router.top_k == 3
            assert moe.router.capacity == Capacity(1.5, 2.5)
            assert moe.router.jitter_noise == 0.2
            load_balancing, z_loss = moe.router.balancing
            assert load_balancing.weight == 0.3
            assert z_loss.weight == 0.4
            assert moe.compute_dtype == "bfloat16"
            assert moe.router.compute_dtype == "float32"

    # Counting takes seconds without compilation; that a layer's losses are
    # added on every backend is tested with the layers.
    @pytest.mark.once
    def test_losses_come_from_every_sparse_layer(self):
        arguments, num_sparse_layers = self.with_losses
        backbone = self.make(**arguments)
        token_ids = np.ones((2, 5), "int32")
        batch = {"token_ids": token_ids, "padding_mask": token_ids}
        backbone(batch, training=True)
        assert len(backbone.losses) == num_sparse_layers * 2
        backbone(batch, training=False)
        assert len(backbone.losses) == 0

    def test_sizes_must_be_positive(self, name, size):
        with pytest.raises(ValueError, match=f"{name}={size}"):
            self.make(**{name: size})

    @pytest.mark.once
    def test_presets_are_constructor_arguments(self, preset):
        arguments = inspect.signature(self.backbone).parameters
        assert set(self.presets[preset]) <= set(arguments)


class DenseLayersContract(BackboneContract):
    """Of backbones whose `dense_layers` and `expert_layer_stride` say where.

    Attributes:
        sparse_class: class of the sparse layers.
    """

    sparse_class = None
    sparse_layers = (0, 2, 3)
    with_losses = ({"dense_layers": [0]}, 3)
    not_positive = (("num_layers", 0), ("expert_layer_stride", 0))

    def test_layers_are_dense_by_stride_and_by_index(self):
        backbone = self.make(
            expert_layer_stride=2,
            dense_layers=(3,),
            dense_intermediate_dim=20,
        )
        parts = [block.feed_forward for block in backbone.decoder_blocks]
        kinds = [type(part) for part in parts]
        sparse = self.sparse_class
        assert kinds == [FeedForward, sparse, FeedForward, FeedForward]
        assert tuple(parts[0].down.kernel.shape) == (20, 16)

    def test_every_layer_is_sparse_unless_told(self):
        blocks = self.make().decoder_blocks
        assert {type(each.feed_forward) for each in blocks} == {
            self.sparse_class
        }
