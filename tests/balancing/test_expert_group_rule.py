"""Where a rule for groups of experts has the groups from."""

import pytest

from keras_moe.balancing import CommunicationBalancingLoss
from keras_moe.balancing import DeviceBalancingLoss
from keras_moe.layers import TopKRouter
from keras_moe.routing import ExpertGroups

pytestmark = pytest.mark.once
RULES = [DeviceBalancingLoss, CommunicationBalancingLoss]


def built(rule, **arguments):
    TopKRouter(8, balancing=rule, **arguments).build((None, None, 16))
    return rule


@pytest.mark.parametrize("kind", RULES)
def test_the_groups_are_those_of_the_router_unless_given(kind):
    groups = ExpertGroups(4, 2)
    assert built(kind(), expert_groups=groups).num_groups == 4
    assert built(kind(num_groups=2), expert_groups=groups).num_groups == 2
    assert built(kind(num_groups=2)).num_groups == 2


def test_so_is_the_number_of_groups_of_a_token():
    groups = ExpertGroups(4, 2)
    rule = built(CommunicationBalancingLoss(), expert_groups=groups)
    assert rule.num_limited == 2
    assert built(CommunicationBalancingLoss(num_groups=4)).num_limited is None


@pytest.mark.parametrize("kind", RULES)
def test_a_rule_without_groups_is_refused_with_the_cure(kind):
    with pytest.raises(ValueError, match="to know the groups") as error:
        built(kind())
    assert "TopKRouter without groups" in str(error.value)
    assert "`num_groups=`, or the router `expert_groups=`" in str(error.value)


@pytest.mark.parametrize("kind", RULES)
def test_groups_that_do_not_divide_the_experts_are_refused(kind):
    with pytest.raises(ValueError, match="divide the number") as error:
        built(kind(num_groups=3))
    assert "num_groups=3, num_experts=8" in str(error.value)
    with pytest.raises(ValueError, match="positive integer"):
        kind(num_groups=0)
