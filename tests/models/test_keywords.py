"""Keyword arguments that nobody takes are refused, by every family."""

import pytest

from keras_moe.models import SwitchBackbone
from keras_moe.models import VisionMoEBackbone
from keras_moe.models import VisionMoEClassifier
from tests.models import small_backbones
from tests.models.vision_moe.conftest import SMALL as VISION

# Plain dictionaries.
pytestmark = pytest.mark.once

FAMILIES = {
    name: (backbone_class, arguments)
    for name, (backbone_class, _, arguments) in small_backbones.ALL.items()
} | {"vision_moe": (VisionMoEBackbone, VISION)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_names_the_argument_it_does_not_have(family):
    backbone_class, arguments = FAMILIES[family]
    expected = (
        rf"{backbone_class.__name__}. Received: num_expert=4, .*"
        "Nearest: .*'num_experts'.*Correct the name"
    )
    # A misspelt argument is named before the one that is missing.
    given = {
        name: arguments[name] for name in arguments if "experts" not in name
    }
    with pytest.raises(TypeError, match=expected):
        backbone_class(**given, num_expert=4)
    with pytest.raises(TypeError, match=r"Received: num_expert=4, .*Nearest: "):
        backbone_class.from_config({**arguments, "num_expert": 4})


def test_without_a_near_name_all_are_listed():
    with pytest.raises(
        TypeError, match=r"Known: 'activation', .*'vocabulary_s"
    ):
        SwitchBackbone(**small_backbones.SWITCH, zzz=None)


def test_settings_of_the_router_belong_to_the_router():
    with pytest.raises(
        TypeError, match=r"settings as `router=\{\.\.\.\}`, not"
    ):
        small_backbones.make_task("mixtral", jitter_noise=0.1)


@pytest.mark.parametrize("family", ["mixtral", "switch", "switch_classifier"])
def test_a_task_names_the_argument_it_does_not_have(family):
    task = type(small_backbones.make_task(family))
    backbone = small_backbones.make_task(family).backbone
    given = {"num_classes": 3} if family == "switch_classifier" else {}
    with pytest.raises(TypeError, match="nam=.*Nearest: 'name'"):
        task(backbone, **given, nam="a")
    model = task(backbone, **given, name="a", trainable=False, compile=False)
    assert model.name == "a"
    with pytest.raises(TypeError, match="Received: preprocesor=None"):
        task.from_config({**model.get_config(), "preprocesor": None})


def test_the_image_classifier_does_so_too():
    backbone = VisionMoEBackbone(**VISION)
    with pytest.raises(TypeError, match="Received: poling='avg'.*'pooling'"):
        VisionMoEClassifier(backbone, 3, poling="avg")


def test_arguments_of_a_preset_are_checked(tmp_path):
    task = small_backbones.make_task("mixtral")
    task.save_to_preset(str(tmp_path / "ours"))
    task.save_pretrained(tmp_path / "published")
    without = {"preprocessor": None}
    for folder in ("ours", "published"):
        for loaded, given in ((type(task), without), (type(task.backbone), {})):
            with pytest.raises(TypeError, match="Received: drop_out=0.1, "):
                loaded.from_preset(tmp_path / folder, drop_out=0.1, **given)
