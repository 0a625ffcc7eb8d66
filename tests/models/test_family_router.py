"""Which routers a decoder takes."""

import pytest

from keras_moe.layers import ROUTERS
from keras_moe.layers import Router
from keras_moe.layers import TopKRouter
from keras_moe.models import SwitchBackbone
from keras_moe.models.family_router import check_causal
from keras_moe.routing import Capacity
from tests.models.small_backbones import DECODERS
from tests.models.small_backbones import SWITCH

# Refused before a backend does anything.
pytestmark = pytest.mark.once

LOOKING_AHEAD = [name for name in ROUTERS if not ROUTERS[name].is_causal]


def test_routers_in_which_experts_choose_look_ahead():
    looking_ahead = {"expert_choice", "soft", "sinkhorn", "balanced_assignment"}
    assert looking_ahead <= set(LOOKING_AHEAD)
    assert "top_k" not in LOOKING_AHEAD


@pytest.mark.parametrize("name", LOOKING_AHEAD)
def test_a_router_that_looks_ahead_is_refused(name):
    backbone_class, _, arguments = DECODERS["mixtral"]
    with pytest.raises(ValueError, match="look at later tokens.*TopKRouter"):
        backbone_class(**arguments, router=ROUTERS[name](4))


@pytest.mark.parametrize("family", DECODERS)
def test_every_decoder_refuses_a_capacity_by_score(family):
    backbone_class, _, arguments = DECODERS[family]
    capacity = Capacity(1.0, priority="score")
    with pytest.raises(ValueError, match="'score'.*priority='position'"):
        backbone_class(**arguments, router={"capacity": capacity})


def test_switch_refuses_it_as_well_unless_it_is_an_encoder_alone():
    router = TopKRouter(4, 1, capacity=Capacity(1.0, priority="score"))
    with pytest.raises(ValueError, match="'score'.*priority='position'"):
        SwitchBackbone(**SWITCH, router=router)
    encoder = SwitchBackbone(**SWITCH, router=router, num_decoder_layers=0)
    assert encoder.router.capacity.priority == "score"


def test_a_router_of_ones_own_says_whether_it_looks_ahead():
    class LooksAhead(Router):
        is_causal = False

    check_causal(TopKRouter(4, capacity=Capacity(1.0)))
    with pytest.raises(ValueError, match="Received: LooksAhead"):
        check_causal(LooksAhead(4))
