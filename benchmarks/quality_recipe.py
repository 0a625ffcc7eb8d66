"""What a recipe is, and a group of recipes."""

from typing import Any
from typing import NamedTuple

from keras_moe.cli.training import TrainingSettings


class Scale(NamedTuple):
    """How large the models and their trainings are.

    Attributes:
        short: `TrainingSettings` of most recipes.
        long: `TrainingSettings` of recipes that are trained until more data
            says little.
    """

    short: TrainingSettings
    long: TrainingSettings

    def with_text(self, text):
        """Return the scale with another text, named by its path."""
        return Scale(*(each._replace(text=text) for each in self))


class Recipe(NamedTuple):
    """What differs from the common model and training.

    Attributes:
        router: dict, arguments of the router.
        size: dict, changes of the `ModelSize`.
        settings: dict, changes of the `TrainingSettings`.
        backbone_class: optional subclass of `MixtralBackbone`.
        long: float, the part of a scale's long training that it is trained
            for; with 0 the short one. In a long one no byte is seen twice,
            and the held-out loss is measured on the way.
    """

    router: dict[str, Any] = {}
    size: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    backbone_class: type | None = None
    long: float = 0

    def complete(self, scale, seed):
        """Return the settings of a run of this recipe.

        Args:
            scale: `Scale`.
            seed: int.

        Returns:
            `TrainingSettings`.
        """
        settings = scale.short
        if self.long:
            steps = round(self.long * scale.long.steps)
            settings = scale.long._replace(steps=steps)
        size = settings.size._replace(**self.size)
        return settings._replace(size=size, seed=seed, **self.settings)


class Group(NamedTuple):
    """A question and the recipes that answer it.

    Attributes:
        title: str.
        recipes: list of str, keys of `RECIPES`.
        curve: optional str, what the picture shows next to the held-out loss:
            a key of a run's `curves`. A group without has a table and a
            picture of its own, or none.
        label: str, what the curve is.
        logarithmic: bool, the curve's axis.
        seeds: int, runs of each recipe at most.
    """

    title: str
    recipes: list[str]
    curve: str | None = "max_violation"
    label: str = "load violation of the worst layer (0 is balanced)"
    logarithmic: bool = True
    seeds: int = 3
