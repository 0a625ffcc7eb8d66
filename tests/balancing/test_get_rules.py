"""Which balancing rules an argument means."""

import re

import keras
import numpy as np
import pytest

from keras_moe.balancing import BalancingRule
from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.balancing import get_rules
from keras_moe.balancing.get_rules import RULES
from keras_moe.layers import TopKRouter

# Looks names up.
pytestmark = pytest.mark.once


def kinds(rules):
    return [type(rule) for rule in rules]


def test_the_names_stand_for_the_classes():
    assert RULES["load_balancing_loss"] is LoadBalancingLoss
    assert RULES["router_z_loss"] is RouterZLoss
    assert RULES["expert_bias"] is ExpertBias


@pytest.mark.parametrize(("name", "kind"), RULES.items())
def test_a_rule_goes_by_name_itself_or_its_configuration(name, kind):
    assert kinds(get_rules(name)) == [kind]
    rule = kind(0.25)
    assert get_rules(rule) == get_rules([rule]) == [rule]
    (revived,) = get_rules(keras.saving.serialize_keras_object(rule))
    assert type(revived) is kind
    assert revived.get_config() == rule.get_config()


def test_several_kinds_may_be_mixed_and_none_is_none():
    rules = get_rules(("expert_bias", RouterZLoss(0.5)))
    assert kinds(rules) == [ExpertBias, RouterZLoss]
    assert get_rules(None) == get_rules([]) == []


def test_a_router_has_two_losses_unless_told_otherwise():
    default = TopKRouter(4).balancing
    assert kinds(default) == [LoadBalancingLoss, RouterZLoss]
    assert [rule.weight for rule in default] == [0.01, 0.001]
    assert TopKRouter(4, balancing=None).balancing == []


def test_the_rules_of_a_router_survive_its_configuration():
    router = TopKRouter(4, balancing=[ExpertBias(0.5), RouterZLoss(0.25)])
    revived = TopKRouter.from_config(router.get_config())
    assert [rule.get_config() for rule in revived.balancing] == [
        {**ExpertBias().get_config(), "rate": 0.5},
        {**RouterZLoss().get_config(), "weight": 0.25},
    ]
    none = TopKRouter(4, balancing=None)
    assert TopKRouter.from_config(none.get_config()).balancing == []


@pytest.mark.parametrize("unknown", ["aux_loss", 0.01, RouterZLoss, [None]])
def test_what_is_no_rule_is_refused_with_the_known_names(unknown):
    known = re.escape(str(sorted(RULES)))
    with pytest.raises(ValueError, match=known) as error:
        get_rules(unknown)
    (unknown,) = unknown if isinstance(unknown, list) else [unknown]
    assert f"Received: {unknown!r}" in str(error.value)
    assert "`keras_moe.balancing.BalancingRule`" in str(error.value)


def test_another_serialized_object_is_no_rule():
    config = keras.saving.serialize_keras_object(keras.regularizers.L2(0.5))
    with pytest.raises(ValueError, match="Expected `balancing` to be of"):
        get_rules(config)


def test_a_kind_of_rule_comes_once():
    with pytest.raises(ValueError, match="one balancing rule of each") as error:
        get_rules(["router_z_loss", RouterZLoss(np.float32(0.5))])
    assert "balancing=['RouterZLoss', 'RouterZLoss']" in str(error.value)
    assert "Leave one out" in str(error.value)
    # Of one's own there may be several that derive from each other.

    class Sharper(RouterZLoss):
        pass

    assert len(get_rules([BalancingRule(), Sharper(), RouterZLoss()])) == 3
