"""Routers and balancing rules by name, from the shell."""

import pytest
from typer.testing import CliRunner

from keras_moe.balancing.get_rules import RULES
from keras_moe.cli.app import app
from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.training import Training
from keras_moe.cli.training import TrainingSettings
from keras_moe.layers import ROUTERS

SIZE = ModelSize(
    hidden_dim=16, num_layers=1, num_experts=4, intermediate_dim=16
)


@pytest.fixture
def train(tmp_path):
    """Return a function that trains one step and gives its loss."""
    text = tmp_path / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 150)

    def train_one_step(**changes):
        settings = TrainingSettings(
            size=SIZE._replace(**changes),
            text=str(text),
            steps=1,
            batch_size=2,
            sequence_length=16,
        )
        training = Training(settings, logs=None)
        training.begin()
        training.train_step()
        training.end()
        return training

    return train_one_step


@pytest.mark.once
@pytest.mark.parametrize(
    ("command", "table"), [("routers", ROUTERS), ("balancing", RULES)]
)
def test_every_name_is_listed_in_a_line_with_its_source(command, table):
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == len(table)
    for line, (name, each) in zip(lines, table.items(), strict=True):
        assert line.split() == [name, *each.source.split()]


def quick(names, some):
    """Return parameters, of which some run in `make test`."""
    return [
        pytest.param(name, marks=() if name in some else pytest.mark.exhaustive)
        for name in names
    ]


@pytest.mark.parametrize("name", quick(ROUTERS, ("expert_choice",)))
def test_a_router_trains_or_is_refused_with_the_cure(name, train):
    if not ROUTERS[name].is_causal:
        with pytest.raises(ValueError, match=r"Expected .* Received: .* Use "):
            train(router=name)
        return
    training = train(router=name)
    (loss,) = training.losses
    assert 0.0 < loss < 20.0
    block = training.model.backbone.decoder_blocks[0]
    assert type(block.feed_forward.router) is ROUTERS[name]


@pytest.mark.once
@pytest.mark.parametrize(
    "name", quick([*RULES, "none"], ("device_balancing_loss", "none"))
)
def test_a_rule_trains_or_is_refused_with_the_cure(name, train):
    if name in ("device_balancing_loss", "communication_balancing_loss"):
        with pytest.raises(ValueError, match="Received: num_groups=None"):
            train(balancing=name)
        return
    if name == "load_loss":
        with pytest.raises(ValueError, match=r"Expected .* Received"):
            train(balancing=name)
        train(balancing=name, router="noisy_top_k")
        return
    training = train(
        balancing=f"router_z_loss,{name}"
        if name in ("expert_bias", "token_entropy_loss")
        else name
    )
    block = training.model.backbone.decoder_blocks[0]
    kinds = [type(rule) for rule in block.feed_forward.router.balancing]
    assert kinds == [] if name == "none" else RULES[name] in kinds


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"router": "top_q"}, "one of .*'top_k'.* Received: 'top_q'"),
        ({"balancing": "z"}, "router_z_loss.*Received: 'z'"),
    ],
)
def test_unknown_names_list_the_known_ones(changes, message, train):
    with pytest.raises(ValueError, match=message):
        train(**changes)


@pytest.mark.once
def test_settings_of_a_run_from_before_mean_the_models_own_router():
    settings = TrainingSettings(size=SIZE).to_dict()
    del settings["router"], settings["balancing"]
    assert TrainingSettings.from_dict(settings).size == SIZE
