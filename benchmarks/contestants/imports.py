"""What it takes to import a package, in seconds of building."""

from contestants.contestant import Contestant


def keras_alone():
    import keras  # noqa: F401

    return Contestant(lambda: None)


def keras_moe_layers():
    import keras_moe.layers  # noqa: F401

    return Contestant(lambda: None)


def keras_moe_models():
    import keras_moe.models  # noqa: F401

    return Contestant(lambda: None)


def keras_hub_models():
    import keras_hub  # noqa: F401

    return Contestant(lambda: None)
