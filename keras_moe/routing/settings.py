"""Arguments that belong together, as one value."""

import dataclasses

from keras_moe.ops.plain_numbers import to_plain


@dataclasses.dataclass(frozen=True)
class Settings:
    """A frozen dataclass that Keras can serialize.

    A subclass is decorated with `dataclasses.dataclass(frozen=True)` and
    checks its fields in `check`.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = to_plain(getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self):
        """Raise `ValueError` if the fields do not fit together."""

    def get_config(self):
        """Return the fields by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_config(cls, config):
        """Make a value from what `get_config` returned."""
        return cls(**config)


def check_settings(kind, **values):
    """Raise unless an argument is a value of its kind.

    Args:
        kind: subclass of `Settings`.
        **values: the argument under its name; `None` is one of any kind.

    Raises:
        ValueError: If it is something else.

    Example:

    >>> from keras_moe.routing import Capacity
    >>> check_settings(Capacity, capacity=Capacity(factor=1.25))
    """
    for name, value in values.items():
        if value is not None and not isinstance(value, kind):
            raise ValueError(
                f"Expected `{name}` to be a `keras_moe.routing."
                f"{kind.__name__}` or None. Received: {name}={value!r}. Write "
                f"`{name}={kind.__name__}(...)`."
            )
