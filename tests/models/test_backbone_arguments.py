"""Arguments that are declared once: signature, configuration, docstring."""

import dataclasses
import inspect

import numpy as np
import pytest

from keras_moe.models.backbone_arguments import BackboneArguments
from keras_moe.models.backbone_arguments import argument
from tests.models import small_backbones

# Plain values, and classes.
pytestmark = pytest.mark.once

FAMILIES = {
    family: backbone_class
    for family, (backbone_class, _, _) in small_backbones.ALL.items()
}
SIZES = {
    "vocabulary_size": 8,
    "num_layers": 6,
    "hidden_dim": 4,
    "intermediate_dim": 4,
    "num_experts": 4,
}


@dataclasses.dataclass(kw_only=True)
class ToyArguments(BackboneArguments):
    memories: int = argument("int, how many.")
    top_k: int = 1
    expert_layer_stride: int = 1
    expert_layer_offset: int | None = None
    dense_layers: tuple = ()
    num_dense_layers: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.expert_layer_offset is None:
            self.expert_layer_offset = self.expert_layer_stride - 1


def sparse_layers(count=6, **arguments):
    arguments = ToyArguments(memories=1, **SIZES, **arguments)
    return [index for index in range(count) if arguments.is_sparse(index)]


@pytest.mark.parametrize(
    "stride, expected",
    [(1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (3, [2, 5]), (8, [])],
)
def test_the_last_layer_of_every_stride_is_sparse(stride, expected):
    assert sparse_layers(expert_layer_stride=stride) == expected


@pytest.mark.parametrize(
    "stride, offset, expected",
    [
        (1, 1, [0, 1, 2, 3, 4, 5]),
        # Switch: from the second on.
        (2, 1, [1, 3, 5]),
        (3, 1, [1, 4]),
        (8, 1, [1]),
    ],
)
def test_the_first_sparse_layer_can_be_another(stride, offset, expected):
    found = sparse_layers(
        expert_layer_stride=stride, expert_layer_offset=offset
    )
    assert found == expected


def test_some_layers_can_be_dense_in_any_case():
    found = sparse_layers(expert_layer_stride=2, dense_layers=(3,))
    assert found == [1, 5]
    found = sparse_layers(dense_layers=(3,), num_dense_layers=2)
    assert found == [2, 4, 5]


@pytest.mark.parametrize(
    "name", ["vocabulary_size", "num_layers", "hidden_dim"]
)
def test_sizes_are_positive(name):
    with pytest.raises(ValueError, match=f"positive.*Received: {name}=0"):
        ToyArguments(memories=1, **{**SIZES, name: 0})
    with pytest.raises(ValueError, match="Received: expert_layer_stride=0"):
        ToyArguments(memories=1, expert_layer_stride=0, **SIZES)


def test_a_missing_argument_is_named():
    with pytest.raises(TypeError, match="'memories'"):
        ToyArguments(**SIZES)


def test_numbers_of_numpy_become_pythons():
    arguments = ToyArguments(memories=np.int64(3), **SIZES)
    assert type(arguments.memories) is int


@pytest.mark.parametrize("family", FAMILIES)
def test_signature_configuration_and_docstring_agree(family):
    backbone_class = FAMILIES[family]
    names = backbone_class.arguments_class.names()
    signature = inspect.signature(backbone_class).parameters
    assert [*signature] == [*names, "kwargs"]
    section = backbone_class.__doc__.partition("Args:\n")[2]
    for name in names:
        assert f"\n    {name}: " in f"\n{section}"
    backbone = small_backbones.make_task(family).backbone
    assert {*names} <= {*backbone.get_config()}


@pytest.mark.parametrize("family", small_backbones.DECODERS)
def test_a_default_of_the_signature_is_the_one_that_is_taken(family):
    backbone_class = FAMILIES[family]
    config = small_backbones.make_task(family).backbone.get_config()
    given = small_backbones.ALL[family][2]
    for name, parameter in inspect.signature(backbone_class).parameters.items():
        if name in (*given, "kwargs", "dtype", "dense_intermediate_dim"):
            continue
        default = parameter.default
        default = [] if default == () else default
        assert config[name] == default, name
