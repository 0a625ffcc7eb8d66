"""`keras-moe plan`, but for the compilation."""

import json

import pytest
from typer.testing import CliRunner

import keras_moe.planning
from keras_moe.cli import app as cli_app
from keras_moe.cli.plan import read_depths
from keras_moe.planning import TrainingPlan
from keras_moe.planning.collectives import Traffic
from keras_moe.planning.largest_arrays import LargeArray

pytestmark = pytest.mark.once
GIB = 1024**3
PLAN = TrainingPlan(
    model="mixtral_8x7b",
    topology="v5p:4x4x4",
    devices=64,
    mesh={"data": 8, "expert": 8},
    batch=64,
    sequence_length=4096,
    settings={"shard": "full"},
    parameters=46_702_792_704,
    flops=20_000_000_000_000_000,
    memory={"weights and slots": 9 * GIB, "temporary": 20 * GIB},
    available=95 * GIB,
    collectives={"all-to-all": Traffic(128, 3 * GIB)},
    largest=[LargeArray(2**31, "bf16", (8, 4096, 32768), 2, "experts/dot")],
    layers=32,
    compiled_layers=[2, 4],
    seconds=300,
)


@pytest.fixture
def run(monkeypatch):
    """Run the command; the plan is `PLAN` with changes."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    given = {}

    def run(*arguments, **changes):
        def plan_training(*positional, **options):
            options["report"]("compiling 2 of 32 layers")
            given.update(options, positional=positional)
            return TrainingPlan(**{**vars(PLAN), **changes})

        monkeypatch.setattr(keras_moe.planning, "plan_training", plan_training)
        command = ["plan", "mixtral_8x7b", "--topology=v5p:4x4x4"]
        result = CliRunner().invoke(
            cli_app.app, [*command, "--batch=64", *map(str, arguments)]
        )
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result, given

    return run


def test_prints_what_is_needed_and_writes_it(run, tmp_path):
    result, given = run(
        "--mesh=data=8,expert=8", "--capacity-factor=0", "--out", tmp_path
    )
    assert result.exit_code == 0
    assert "compiling 2 of 32 layers" in result.output
    assert "29.00, fits in 95" in result.output
    assert "3.000" in result.output and "bf16[8,4096,32768]" in result.output
    assert "Extrapolated to 32 layers from models of 2 and 4" in result.output
    assert given["data"] == 8 and given["expert"] == 8
    assert given["capacity_factor"] is None and given["depths"] == (2, 4)
    record = json.loads((tmp_path / "plan.json").read_text())
    assert record["needed"] == 29 * GIB and record["fits"]
    assert record["collectives"]["all-to-all"]["times"] == 128
    assert (tmp_path / "plan.svg").read_text().startswith("<?xml")


def test_what_does_not_fit_ends_with_a_failure(run):
    result, _ = run(available=16 * GIB, compiled_layers=[32])
    assert result.exit_code == 1
    assert "29.00, does not fit in 16" in result.output
    assert "Extrapolated" not in result.output


@pytest.mark.parametrize("depths", ["2", "a,b", "2,"])
def test_depths_are_two_numbers_or_all(depths):
    with pytest.raises(ValueError, match="or all. Received: depths="):
        read_depths(depths)


def test_an_error_names_the_option(run):
    with pytest.raises(ValueError, match="Received: --mesh 'model=8'"):
        run("--mesh=model=8")
