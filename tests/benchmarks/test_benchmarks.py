"""The benchmarks: their arithmetic, and one of them from end to end."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name):
    return importlib.import_module(name)


@pytest.mark.once
def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    # Machine twice as slow in the second round: each round says 2.
    assert load("turns").ratio([2.0, 4.0, 2.0], [1.0, 2.0, 1.0]) == 2.0
    assert load("turns").ratio([2.0, 9.0, 3.0], [1.0, 1.0, 1.0]) == 3.0
    assert load("turns").ratio([], []) is None


@pytest.mark.once
def test_an_answer_says_how_far_the_rounds_are_apart():
    answer = load("answers").answer
    question = load("match").Question("ours / theirs", "us", "a")
    records = {
        "us": {"seconds": [1.0, 2.0, 3.0]},
        "a": {"seconds": [2.0, 2.0, 2.0], "first_step_seconds": 4.0},
    }
    assert answer(question, records)["range"] == [0.5, 1.5]
    # What is measured once has no range.
    once = question._replace(figure="first_step_seconds")
    records["us"]["first_step_seconds"] = 2.0
    assert answer(once, records)["value"] == 0.5
    assert answer(once, records)["range"] is None


@pytest.mark.once
def test_an_answer_names_its_backend_or_takes_that_of_its_match():
    every_answer = load("answers").every_answer
    common = {"what": "ours / theirs", "value": 1.0}
    results = {
        "matches": [
            {
                "benchmark": "training",
                "case": "small",
                "backend": "torch",
                "answers": [
                    {**common, "backend": None},
                    {**common, "backend": "best"},
                ],
            }
        ]
    }
    first, second = every_answer(results)
    assert (first["backend"], second["backend"]) == ("torch", "best")
    assert (first["benchmark"], first["case"]) == ("training", "small")


@pytest.mark.once
def test_of_several_names_the_fastest_counts_and_targets_are_at_most():
    answer = load("answers").answer
    question = load("match").Question("ours / theirs", "us", "a|b", 0.5)
    records = {
        "us": {"seconds": [1.0, 1.0, 1.0]},
        "a": {"seconds": [4.0, 4.0, 4.0]},
        "b": {"seconds": [2.0, 2.0, 2.0]},
    }
    given = answer(question, records)
    assert given["value"] == 0.5
    assert given["met"] is True
    assert answer(question._replace(target=0.4), records)["met"] is False
    assert answer(question._replace(target=None), records)["met"] is None


@pytest.mark.once
def test_who_failed_does_not_count():
    answer = load("answers").answer
    question = load("match").Question("ours / theirs", "us", "a|b", 0.5)
    records = {
        "us": {"seconds": [1.0]},
        "a": {"seconds": [], "error": "no memory"},
        "b": {"seconds": [4.0]},
    }
    assert answer(question, records)["value"] == 0.25
    records["b"] = {"seconds": [], "error": "no memory"}
    assert answer(question, records)["value"] is None
    assert answer(question, records)["met"] is None


@pytest.mark.once
def test_memory_and_first_steps_are_ratios_of_single_figures():
    answer = load("answers").answer
    question = load("match").Question(
        "memory", "us", "them", 1.5, "activation_bytes"
    )
    records = {
        "us": {"seconds": [1.0], "activation_bytes": 30},
        "them": {"seconds": [1.0], "activation_bytes": 20},
    }
    assert answer(question, records)["value"] == 1.5
    del records["them"]["activation_bytes"]
    assert answer(question, records)["value"] is None


@pytest.mark.once
@pytest.mark.parametrize("scale", ["cpu", "gpu", "tiny"])
def test_every_question_asks_about_contestants_of_its_match(scale):
    suite = load("suite")
    sizes = load("sizes").SCALES[scale]
    for name, matches in suite.SUITE.items():
        for match in matches(sizes, suite.BACKENDS):
            assert match.benchmark == name
            names = [each.name for each in match.contestants]
            assert len(names) == len(set(names))
            for question in match.questions:
                asked = question.numerator.split("|")
                asked += question.denominator.split("|")
                assert set(asked) <= set(names)


@pytest.mark.exhaustive
def test_a_run_writes_ratios_tables_and_pictures(backend, tmp_path):
    out = tmp_path / "results.json"
    ended = subprocess.run(
        [
            sys.executable,
            BENCHMARKS / "run.py",
            "imbalance",
            "--scale=tiny",
            "--case=E=4",
            f"--backend={backend}",
            "--rounds=1",
            f"--out={out}",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert ended.returncode == 0, ended.stderr
    (match,) = json.loads(out.read_text())["matches"]
    assert [record["backend"] for record in match["records"].values()] == [
        backend
    ] * 3
    for answer in match["answers"]:
        assert answer["value"] > 0
    assert "all to one / balanced" in ended.stdout
    assert "all to one / balanced" in out.with_suffix(".md").read_text()
    assert (tmp_path / "results_imbalance.svg").stat().st_size > 1000


@pytest.mark.once
def test_an_unknown_benchmark_is_an_error_that_lists_the_known():
    ended = subprocess.run(
        [sys.executable, BENCHMARKS / "run.py", "speed"],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "known: layer" in ended.stderr
