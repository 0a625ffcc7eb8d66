"""V-MoE's arguments, sizes and refusals."""

import numpy as np
import pytest

from keras_moe.layers import ExpertChoiceRouter
from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE
from keras_moe.models import VISION_MOE_PRESETS
from keras_moe.models import VisionMoEBackbone
from keras_moe.models import parameter_counts
from keras_moe.models import preset
from keras_moe.routing import Capacity
from tests.models.vision_moe.conftest import SMALL


def make(**changes):
    return VisionMoEBackbone(**{**SMALL, **changes})


def sparse_layers(backbone):
    return [
        index
        for index, block in enumerate(backbone.encoder_transformer_layers)
        if isinstance(block.feed_forward, SparseMoE)
    ]


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [1, 3, 5, 7]),  # Every-2
        ({"num_dense_layers": 4}, [5, 7]),  # Last-2
        ({"dense_layers": (1, 5)}, [3, 7]),
        ({"expert_layer_stride": 4}, [3, 7]),
    ],
    ids=str,
)
def test_layers_are_sparse_by_stride_and_by_index(changes, expected):
    backbone = make(num_layers=8, **changes)
    assert sparse_layers(backbone) == expected
    blocks = backbone.encoder_transformer_layers
    assert isinstance(blocks[0].feed_forward, FeedForward)


def test_config_round_trip():
    original = make(
        expert_layer_stride=1,
        routing_group="batch",
        use_class_token=False,
        activation="relu",
        dropout=0.1,
        layer_norm_epsilon=1e-4,
        router={"capacity": Capacity(1.5, 2.5)},
        dtype="mixed_bfloat16",
    )
    copy = VisionMoEBackbone.from_config(original.get_config())
    assert copy.get_config() == original.get_config()
    for block in copy.encoder_transformer_layers:
        assert (block.routing_group, block.dropout) == ("batch", 0.1)
        assert block.layer_norm_epsilon == 1e-4
        assert block.feed_forward.experts.activation.__name__ == "relu"
        assert block.feed_forward.router.capacity == Capacity(1.5, 2.5)
        assert block.feed_forward.compute_dtype == "bfloat16"
        assert block.feed_forward.router.compute_dtype == "float32"


def test_routers_may_see_all_tokens():
    backbone = make(router=ExpertChoiceRouter(4))
    assert isinstance(backbone.router, ExpertChoiceRouter)


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("vision_moe_l_16", 3.4),
        ("vision_moe_h_14", 7.2),
        ("vision_moe_h_14_last_5", 2.7),
    ],
)
def test_sizes_are_the_papers(name, billions):
    _, config = preset(name)
    # The paper counts the head of JFT-300M's 18,291 classes.
    head = (config["hidden_dim"] + 1) * 18_291
    total = parameter_counts(name).total + head
    assert round(total / 1e9, 1) == billions


@pytest.mark.once
def test_sizes_are_those_of_the_model():
    backbone = make()
    counts = parameter_counts(backbone)
    assert counts.total == backbone.count_params()
    one_expert = 2 * 8 * 12 + 12 + 8
    assert counts.total - counts.active == 2 * one_expert
    # No products: class token, 7 positions, 4 + 1 norms, and biases: of the
    # patches, two attentions, a dense layer and two experts of 12 and 8.
    others = 8 + 7 * 8 + 5 * 16 + 8 + 2 * 4 * 8 + 3 * (12 + 8)
    assert counts.flops_per_token == 2 * (counts.active - others)


@pytest.mark.once
@pytest.mark.parametrize("name", VISION_MOE_PRESETS)
def test_last_n_has_n_sparse_layers(name):
    arguments = VisionMoEBackbone.arguments_class(**VISION_MOE_PRESETS[name])
    sparse = [*filter(arguments.is_sparse, range(arguments.num_layers))]
    _, _, last = name.partition("_last_")
    assert len(sparse) == int(last or arguments.num_layers // 2)
    assert sparse[-1] == arguments.num_layers - 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_shape": (4, 7, 3)}, r"multiples of patch_size=2.*\(4, 7, 3\)"),
        ({"image_shape": (4, 6)}, "fixed height, width"),
        ({"image_shape": (None, 6, 3)}, "fixed height, width"),
        ({"hidden_dim": 9}, "hidden_dim=9, num_heads=2"),
        ({"patch_size": 0}, "patch_size=0"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"routing_group": "token"}, r"\('image', 'batch'\).*'token'"),
        ({"router": {"replay": True}}, "tokens alone.*TopKRouter"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        make(**changes)


def test_images_of_another_size_are_refused():
    backbone = make()
    with pytest.raises(ValueError, match=r"4, 6, 3\).*\(1, 6, 6, 3\)"):
        backbone(np.ones((1, 6, 6, 3), "float32"))
    with pytest.raises(ValueError, match=r"(?s)4, 6, 3\).*Resize the images"):
        backbone.patch_embedding(np.ones((1, 6, 4, 3), "float32"))
