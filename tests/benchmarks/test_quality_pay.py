"""Do experts pay: equal arithmetic, text seen once, factors, the picture."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.once

DENSE = "dense, 4000 steps, rate 0.02"
EIGHT = "8 experts, 2000 steps, rate 0.01"
RESULTS = Path(__file__).parents[2] / "docs" / "quality"


def load(name):
    return importlib.import_module(name)


@pytest.fixture
def scale(tmp_path):
    """Return the tiny scale, on a text for 8 windows of 16 bytes and more."""
    path = tmp_path / "text.txt"
    # Every pair of letters once, so that a window says where it is.
    pairs = [bytes([a, b]) for a in range(65, 91) for b in range(97, 123)]
    path.write_bytes(b"".join(pairs) * 10)
    return load("quality_recipes").SCALES["tiny"].with_text(str(path))


def begin(name, scale):
    recipe = load("quality_recipes").RECIPES[name]
    return load("quality_training").begin(recipe, recipe.complete(scale, 0))


def test_a_long_training_sees_no_byte_twice(scale):
    training = begin(DENSE, scale)
    # So that each byte says where it is.
    training.text = np.arange(130, dtype="uint8")
    seen, after = [], []
    while not training.finished:
        inputs, labels = training.batch()
        seen.append(inputs["token_ids"])
        after.append(labels)
        training.step += 1
    # 4 steps of 2 windows of 16 bytes; in 130 bytes there are 8 windows.
    assert sorted(np.ravel(seen)) == list(range(128))
    np.testing.assert_array_equal(np.array(after), np.array(seen) + 1)
    assert np.ravel(seen)[:16].tolist() != list(range(16))


def test_a_text_too_short_to_be_seen_once_is_an_error(scale):
    training = begin(DENSE, scale)
    # The last of 128 bytes has no byte after it: 7 windows.
    training.text = training.text[:128]
    with pytest.raises(ValueError, match=r"for 8 windows.*Received: 7\."):
        training.batch()


def test_a_long_training_measures_the_held_out_loss_on_the_way(scale):
    recipe = load("quality_recipes").RECIPES[EIGHT]
    settings = recipe.complete(scale, 0)
    run = load("quality_training").train(recipe, settings, lambda: None)
    # Half of 4 steps.
    assert run["curves"]["held_out_step"] == [1, 2]
    losses = run["curves"]["held_out_loss"]
    assert losses[-1] == run["held_out_loss"]
    assert losses == sorted(losses, reverse=True)


def test_evaluations_are_as_many_as_there_is_room_for():
    due = load("quality_training").is_due
    assert [step for step in range(1, 7) if due(step, 6)] == [1, 2, 3, 4, 5, 6]
    steps = [step for step in range(1, 4001) if due(step, 4000)]
    assert steps == list(range(200, 4001, 200))


def test_all_models_do_the_same_arithmetic_for_a_token():
    from keras_moe.cli.language_model import make_model
    from keras_moe.models import parameter_counts

    pay = load("quality_pay")
    flops = []
    for name in pay.TIMED.values():
        settings = pay.RECIPES[name].complete(
            load("quality_recipes").SCALES["cpu"], 0
        )
        model = make_model(settings.size)
        flops.append(parameter_counts(model).flops_per_token)
    dense, *sparse = flops
    # Query, key, value and output 3 H^2, the layer 3 * 128 H and the logits
    # 256 H products of H = 32; dense has a router of one expert, H.
    assert dense == 2 * 32 * (3 * 32 + 3 * 128 + 256 + 1)
    for each in sparse:
        assert 0.99 * dense < each <= dense


def test_the_plain_layer_that_is_timed_does_what_one_expert_does(scale):
    import keras

    pay, train = load("quality_pay"), load("quality_training")
    recipe = pay.RECIPES[DENSE]
    settings = recipe.complete(scale, 0)
    plain = train.begin(
        recipe._replace(backbone_class=pay.Dense), settings
    ).model
    one = train.begin(recipe, settings).model
    values = []
    for variable in one.weights:
        value = keras.ops.convert_to_numpy(variable)
        if variable.path.endswith("gate_up/kernel"):
            gate, up = np.split(value[0], 2, axis=-1)
            values += [up, gate]
        elif "router" not in variable.path:
            values.append(value)
    plain.set_weights(
        [
            np.reshape(value, variable.shape)
            for value, variable in zip(values, plain.weights, strict=True)
        ]
    )
    token_ids = np.arange(32).reshape(2, 16)
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    np.testing.assert_allclose(
        plain.predict(inputs, verbose=0),
        one.predict(inputs, verbose=0),
        # A sum over 8 products of numbers of about 0.02, in float32.
        atol=1e-6,
    )


def test_a_step_can_be_timed(scale, monkeypatch):
    recipes = load("quality_recipes")
    monkeypatch.setitem(recipes.SCALES, "tiny", scale)
    make = load("contestants.language_model").train_recipe
    assert 4.0 < make(DENSE, "tiny").step() < 8.0


def run_of(num_experts, seed, steps, *losses):
    parts = np.linspace(0, steps, len(losses) + 1)[1:]
    return {
        "recipe": load("quality_pay").BEST_NAMES[num_experts][steps],
        "seed": seed,
        "parameters": {"total": 1000},
        "flops_per_token": 2000,
        "held_out_loss": losses[-1],
        "final": {"max_violation": 0.5},
        "curves": {
            "held_out_step": parts.astype(int).tolist(),
            "held_out_loss": list(losses),
        },
    }


@pytest.fixture
def found():
    """Return runs and a clock whose answers are known, and the answers."""
    runs = [
        # Their mean is 2.
        run_of(1, 0, 4000, 2.2, 2.05),
        run_of(1, 1, 4000, 2.2, 1.95),
        # Exactly there after 2000 steps.
        run_of(8, 0, 1000, 2.4, 2.2),
        run_of(8, 0, 2000, 2.3, 2.1, 2.2, 2.0),
        # Halfway between 500 and 1000; the other training is later.
        run_of(8, 1, 1000, 2.1, 1.9),
        run_of(8, 1, 2000, 2.4, 2.2, 2.1, 2.0),
        # At once, and never.
        run_of(128, 0, 1000, 1.9, 1.8),
        run_of(128, 0, 2000, 1.9, 1.7),
        run_of(128, 1, 1000, 2.3, 2.3),
        run_of(128, 1, 2000, 2.3, 2.2),
    ]
    clock = {
        "dense": {"seconds": [1.0, 2.0, 1.0], "cpu_seconds": [1.0, 1.0, 1.0]},
        "8 experts": {
            "seconds": [1.6, 3.2, 9.0],
            "cpu_seconds": [1.5, 1.5, 1.5],
        },
    }
    return runs, load("quality_pay_report").answers(runs, clock)


def test_factors_are_those_of_the_first_step_with_the_dense_models_loss(found):
    _, (dense, eight, many) = found
    assert dense.name == "dense"
    assert eight.fewer_steps == pytest.approx([4000 / 2000, 4000 / 750])
    assert many.fewer_steps == [4000 / 500, 0.0]
    # Rounds say 1.6, 1.6 and 9.
    assert eight.step_times == pytest.approx([1.6, 1.6, 9.0])
    assert eight.faster == pytest.approx([2.0 / 1.6, 16 / 3 / 1.6])
    assert many.step_times == many.faster == []


def test_the_table_says_what_is_known(found):
    report = load("quality_pay_report")
    _, answers = found
    _, _, dense, eight, many = report.table(answers).splitlines()
    assert dense == (
        "| dense | 128 | 1,000 | 2,000 |  |  | 2.000 ± 0.050 | 0.50 ± 0.00 "
        "|  |  |  |  | 2 |"
    )
    # 2 and 5.33, over 1.6 1.25 and 3.33.
    assert eight == (
        "| 8 experts | 62 | 1,000 | 2,000 | 2.050 ± 0.150 | 2.000 ± 0.000 |  "
        "| 0.50 ± 0.00 | 3.67 ± 1.67 | 1.60 | 1.50 | 2.29 ± 1.04 | 2 |"
    )
    assert many.endswith("| 4.00 ± 4.00 |  |  |  | 2 |")
    assert report.table(answers[:1]) == report.table([]) == ""
    # Without the dense model there is nothing to compare with.
    assert report.answers(found[0][2:], {}) == []


def test_the_picture_draws_what_is_known(found):
    figure = load("quality_pay_picture").draw(found[1])
    curves, factors = figure.axes
    words = [text.get_text() for text in curves.get_legend().get_texts()]
    assert words == ["dense", "8 experts", "128 experts"]
    points = [np.round(line.get_ydata(), 2).tolist() for line in factors.lines]
    assert [2.0, 5.33] in points
    assert [1.25, 3.33] in points


def test_each_model_trains_at_the_best_of_its_learning_rates():
    pay = load("quality_pay")
    runs = load("quality_report").read(RESULTS / "runs.jsonl")
    losses = {
        name: np.mean(each)
        for name, each in load("quality_pay_report")
        .losses_by_recipe(runs)
        .items()
    }
    for num_experts, rates in pay.RATES.items():
        steps = max(pay.STEPS[num_experts])
        names = [pay.name_of(num_experts, rate, steps) for rate in rates]
        tried = [name for name in names if name in losses]
        if len(tried) > 1:
            best = min(tried, key=losses.get)
            assert best == pay.BEST_NAMES[num_experts][steps]


def test_the_clock_is_not_asked_twice(tmp_path, monkeypatch):
    clock = load("quality_clock")
    asked = []

    def take_turns(contestants, rounds, show):
        asked.append(
            {each.name: each.arguments["name"] for each in contestants}
        )
        return {name: {"seconds": [1.0] * rounds} for name in asked[-1]}

    monkeypatch.setattr(clock, "take_turns", take_turns)
    path = tmp_path / "clock.json"
    for _ in range(2):
        clock.measure(path, {"a": "A", "b": "B"}, "tiny", 2, None)
    assert asked == [{"a": "A", "b": "B"}]
    assert json.loads(path.read_text()) == clock.read(path)
    assert clock.read(path)["a"]["seconds"] == [1.0, 1.0]

    failed = {"c": {"error": "no memory"}}
    monkeypatch.setattr(clock, "take_turns", lambda *_: failed)
    with pytest.raises(RuntimeError, match="c: no memory"):
        clock.measure(path, {"c": "C"}, "tiny", 1, None)
