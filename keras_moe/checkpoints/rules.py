"""Which variable is which tensor: one table, read in both directions."""

import re
from collections import Counter
from typing import NamedTuple

import keras

from keras_moe.checkpoints.adapted_variable import AdaptedVariable
from keras_moe.checkpoints.adapted_variable import adapted
from keras_moe.checkpoints.checkpoint_folder import shorten
from keras_moe.checkpoints.layouts import SAME
from keras_moe.checkpoints.layouts import Layout


class Source(NamedTuple):
    """Tensors that hold a rule's variables.

    Attributes:
        names: templates; `{layer}` is the layer's number, `{expert}` stands
            for one name per expert.
        layout: how their numbers lie.
    """

    names: tuple
    layout: Layout = SAME


class Rule(NamedTuple):
    """Variables of ours and where they are found.

    Attributes:
        ours: attribute paths from the backbone, such as
            `"decoder_blocks.{layer}.attention.query.kernel"`. What stands
            before `{layer}` is a list of the model; there is one layer for
            each of its elements. Where the model has no such attribute, the
            rule does not apply.
        sources: alternatives, the published one first: loading takes the
            first that is there, saving the first.
        spare: bool, whether the tensors may be there without the variables
            (a head beside tied embeddings).
    """

    ours: tuple
    sources: tuple
    spare: bool = False


def rule(ours, *names, layout=SAME, otherwise=(), spare=False):
    """Write a rule in one line.

    Args:
        ours: attribute path, or a tuple of them.
        *names: templates of their names.
        layout: `Layout`.
        otherwise: more `Source`s, tried in order.
        spare: bool, see `Rule`.

    Returns:
        `Rule`.

    Example:

    >>> norm = rule("final_norm.scale", "model.norm.weight")
    >>> norm.ours, norm.sources[0].names
    (('final_norm.scale',), ('model.norm.weight',))
    """
    ours = (ours,) if isinstance(ours, str) else tuple(ours)
    return Rule(ours, (Source(names, layout), *otherwise), spare)


class Match(NamedTuple):
    """Variables with the names of their tensors.

    Attributes:
        variables: list of Keras variables, or of `AdaptedVariable`.
        names: list of str, in the layout's order.
        layout: `Layout` between them.
    """

    variables: list
    names: list
    layout: Layout


def match(model, rules, found=None, ignored=()) -> list[Match]:
    """Find the tensors of every variable.

    Args:
        model: the backbone.
        rules: tuple of `Rule`.
        found: optional dict of tensor name -> shape; `None` takes each
            rule's first source.
        ignored: regular expressions of names that nobody needs.

    Returns:
        list of `Match`.

    Raises:
        ValueError: If a weight has no rule or several, a tensor is missing
            or left over, or a shape is another one.
    """
    matches: list[Match] = []
    missing: list[str] = []
    spare: set[str] = set()
    for each, layer in _applications(model, rules):
        variables = [_variable(model, path, layer) for path in each.ours]
        sources = [
            _names(source, layer, variables[0]) for source in each.sources
        ]
        if any(variable is None for variable in variables):
            if each.spare:
                spare.update(name for names in sources for name in names)
            continue
        for source, names in zip(each.sources, sources, strict=True):
            if found is None or all(name in found for name in names):
                matches.append(Match(variables, names, source.layout))
                break
        else:
            lost = [name for name in sources[0] if name not in found]
            missing += lost
    _check_variables(model, matches, missing)
    if found is not None:
        _check_names(matches, missing, found, spare, ignored)
        for each in matches:
            _check_shapes(each, found)
    return matches


def _applications(model, rules):
    for each in rules:
        blocks, in_layers, _ = each.ours[0].partition(".{layer}")
        if not in_layers:
            yield each, None
            continue
        for layer, _ in enumerate(_variable(model, blocks, None) or ()):
            yield each, layer


def _variable(model, path, layer):
    value = model
    for name in path.format(layer=layer).split("."):
        if name.isdigit():
            value = value[int(name)]
        elif adapted(value, name):
            value = AdaptedVariable(value, name)
        else:
            value = getattr(value, name, None)
        if value is None:
            return None
    return value


def _names(source, layer, variable):
    names = []
    for template in source.names:
        if "{expert}" not in template:
            names.append(template.format(layer=layer))
        elif variable is not None:
            names += [
                template.format(layer=layer, expert=expert)
                for expert in range(variable.shape[0])
            ]
    return names


def _check_variables(model, matches, missing):
    matched = [
        part
        for each in matches
        for variable in each.variables
        for part in getattr(variable, "parts", [variable])
    ]
    times = Counter(map(id, matched))
    twice = [part.path for part in matched if times[id(part)] > 1]
    if twice:
        raise ValueError(
            f"Expected one rule for each variable. Received: {shorten(twice)} "
            "in several. Fix the rule table."
        )
    if missing:
        return  # The names say more.
    left = [v.path for v in model.weights if id(v) not in times]
    if left:
        raise ValueError(
            "Expected a rule for every variable. Received: none for "
            f"{shorten(left)}. Fix the rule table."
        )


def _check_names(matches, missing, found, spare, ignored):
    used = {name for each in matches for name in each.names}
    left = [
        name
        for name in found
        if name not in used
        and name not in spare
        and not any(re.fullmatch(pattern, name) for pattern in ignored)
    ]
    if missing or left:
        raise ValueError(
            "Expected the tensors of this model and no others. Received: "
            f"{len(missing)} missing ({shorten(missing)}), {len(left)} "
            f"without a partner ({shorten(left)}). Check that config.json "
            "belongs to these weights."
        )


def _check_shapes(each, found):
    shapes = [tuple(variable.shape) for variable in each.variables]
    expected = each.layout.their_shapes(shapes, len(each.names))
    for name, shape in zip(each.names, expected, strict=True):
        if tuple(found[name]) != tuple(shape):
            raise ValueError(
                f"Expected shape {tuple(shape)} of {name}. Received: "
                f"{tuple(found[name])}. Check that config.json belongs to "
                "these weights."
            )


def to_numpy(variable):
    """Return a variable's value with its own dtype.

    Args:
        variable: Keras variable.

    Returns:
        NumPy array, bfloat16 included.

    Example:

    >>> to_numpy(keras.Variable([1.0, 2.0], dtype="bfloat16")).dtype.name
    'bfloat16'
    """
    value = keras.ops.convert_to_numpy(variable.value)
    return value.astype(keras.backend.standardize_dtype(variable.dtype))
