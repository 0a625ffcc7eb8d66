"""Contests of one layer, forward and backward."""

from match import Contestant
from match import Match
from match import Question


def layer(scale, backends):
    """Against a dense MLP, every expert on every token, and the peer."""
    for dtype in scale.dtypes:
        for sizes, target in scale.layers:
            for backend in backends:
                yield _layer_match(scale, sizes, dtype, backend, target)


def _layer_match(scale, sizes, dtype, backend, target):
    arguments = _arguments(sizes, scale.num_tokens, dtype)
    on_gpu = "bfloat16" in scale.dtypes
    first = dtype == scale.dtypes[0]
    faster = 1.0 if on_gpu and first else None
    rivals = {
        "dense MLP": ("dense_mlp", backend, target if first else None),
        "transformers grouped_mm": ("transformers_block", "torch", faster),
    }
    if on_gpu and backend == "jax":
        rivals["ragged_dot"] = ("ragged_dot", backend, faster)
    if not on_gpu and sizes.num_experts <= 8:
        # With more experts it takes minutes.
        rivals["every expert"] = ("every_expert", backend, 1.0)
    contestants = [_contestant("sparse", "sparse_moe", arguments, backend)]
    questions = [
        Question(
            "activation memory / dense MLP",
            "sparse",
            "dense MLP",
            1.5,
            "activation_bytes",
        )
    ]
    for name, (function, where, most) in rivals.items():
        contestants.append(_contestant(name, function, arguments, where))
        questions.append(Question(f"time / {name}", "sparse", name, most))
    return Match("layer", f"{sizes} {dtype}", backend, contestants, questions)


def experts(scale, backends):
    """More and more experts at the same active FLOPs."""
    for backend in backends:
        contestants = [
            _contestant(
                f"E={count}",
                "sparse_moe",
                _arguments(
                    scale.experts_like._replace(num_experts=count),
                    scale.experts_tokens,
                ),
                backend,
            )
            for count in scale.experts
        ]
        fewest = scale.experts[0]
        questions = [
            Question(
                f"E={count} / E={fewest}",
                f"E={count}",
                f"E={fewest}",
                1.6 if count == 512 else None,
            )
            for count in scale.experts[1:]
        ]
        case = f"{scale.experts_tokens} tokens"
        yield Match("experts", case, backend, contestants, questions, 3)


def tokens(scale, backends):
    """More and more tokens: where a sparse layer starts to pay."""
    sizes, _ = scale.layers[1]
    for backend in backends:
        contestants, questions = [], []
        for count in scale.tokens:
            arguments = _arguments(sizes, count)
            sparse, dense = f"sparse T={count}", f"dense T={count}"
            contestants += [
                _contestant(sparse, "sparse_moe", arguments, backend),
                _contestant(dense, "dense_mlp", arguments, backend),
            ]
            what = f"time / dense MLP, {count} tokens"
            questions.append(Question(what, sparse, dense))
        yield Match("tokens", str(sizes), backend, contestants, questions, 3)


def imbalance(scale, backends):
    """All tokens to few experts instead of to all alike; dropless."""
    for sizes, _ in scale.layers[:2]:
        arguments = _arguments(sizes, scale.num_tokens)
        for backend in backends:
            contestants = [
                _contestant(
                    load, "sparse_moe", {**arguments, "load": load}, backend
                )
                for load in ("balanced", "zipf", "all_to_one")
            ]
            questions = [
                Question("Zipf / balanced", "zipf", "balanced"),
                Question(
                    "all to one / balanced", "all_to_one", "balanced", 1.3
                ),
            ]
            yield Match(
                "imbalance", str(sizes), backend, contestants, questions
            )


def _contestant(name, function, arguments, backend):
    return Contestant(name, f"layer:{function}", arguments, backend)


def _arguments(sizes, num_tokens, dtype="float32"):
    return {"sizes": sizes, "num_tokens": num_tokens, "dtype": dtype}
