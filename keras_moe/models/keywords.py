"""Keyword arguments that nobody takes."""

import difflib

from keras_moe.models.family_router import SETTINGS

# What Keras' functional models take. All others they ignore.
BY_KERAS = ("name", "trainable")


def check_keywords(given, known, owner):
    """Refuse keyword arguments that nobody takes.

    Args:
        given: dict of keyword arguments.
        known: iterable of str, the names that are taken.
        owner: str, whose arguments they are, for the error.

    Raises:
        TypeError: If a name is unknown; names the nearest known ones.

    Example:

    >>> check_keywords({"top_k": 2}, ["top_k", "num_experts"], "Router")
    >>> try:
    ...     check_keywords({"topk": 2}, ["top_k", "num_experts"], "Router")
    ... except TypeError as error:
    ...     print(error)
    Expected keyword arguments of Router. Received: topk=2, which it does not
    have. Nearest: 'top_k'. Correct the name, or leave it out.
    """
    known = sorted(known)
    for name, value in given.items():
        if name in known:
            continue
        if name in SETTINGS:
            cure = (
                f"Give the router's settings as `router={{...}}`, not {name}."
            )
        else:
            nearest = difflib.get_close_matches(name, known, 3)
            cure = (
                f"{'Nearest' if nearest else 'Known'}: "
                f"{', '.join(map(repr, nearest or known))}. "
                "Correct the name, or leave it out."
            )
        raise TypeError(
            f"Expected keyword arguments of {owner}. Received: "
            f"{name}={value!r}, which it does not have. {cure}"
        )
