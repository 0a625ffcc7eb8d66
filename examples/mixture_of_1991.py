"""Let experts split four vowels among themselves, as the first mixture did.

    KERAS_BACKEND=jax python examples/mixture_of_1991.py

Jacobs, Jordan, Nowlan and Hinton ("Adaptive mixtures of local experts", 1991)
tell vowels apart by their first two formants, the resonances of the vocal
tract. Here: the first vowel of each pair from the second, in "heed" and "hid",
and in "hod" and "hud". No single line does, because the vowel to be found has
the higher second formant in one pair and the lower one in the other. Each
expert is one line. Trained by the likelihood of the mixture (equation 1.3),
experts compete: one takes each pair for itself, and two of the four are not
used. Trained by the error of the blend (equation 1.1), they may share a vowel
(`--seed 1`), because only their weighted average needs to be right.

The data come from a formula: the average formants of the four vowels, times
the length of a speaker's vocal tract, and some noise.
"""

import argparse

import keras
import numpy as np

from keras_moe.layers import ExpertMixture
from keras_moe.losses import BlendError
from keras_moe.losses import MixtureNegativeLogLikelihood
from keras_moe.losses import blend

# First and second formant in Hz, averages of adult men.
VOWELS = {
    "heed": (270, 2290),
    "hid": (390, 1990),
    "hod": (730, 1090),
    "hud": (640, 1190),
}
LOSSES = {
    "likelihood of the mixture": MixtureNegativeLogLikelihood,
    "error of the blend": BlendError,
}
COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red")
NUM_EXPERTS = 4


def draw_vowels(speakers, seed=0):
    """Draw each vowel once for each speaker: formants and vowel."""
    rng = np.random.default_rng(seed)
    tract = np.exp(0.05 * rng.normal(size=(speakers, 1, 1)))
    noise = np.exp(0.03 * rng.normal(size=(speakers, 4, 2)))
    formants = np.array(list(VOWELS.values())) * tract * noise
    vowel = np.tile(np.arange(4), speakers)
    return formants.reshape(-1, 2), vowel


def scale(formants):
    """Shift and scale formants, and append a 1 for the router's bias."""
    scaled = (np.log(formants) - np.log([500, 1600])) / [0.4, 0.3]
    return np.pad(scaled, ((0, 0), (0, 1)), constant_values=1.0)


def train(loss, inputs, targets, epochs, seed):
    """Train a mixture, and return the model of its outputs and weights."""
    keras.utils.set_random_seed(seed)
    tensor = keras.Input((3,))
    mixture = ExpertMixture(NUM_EXPERTS, units=1, activation="tanh")(tensor)
    model = keras.Model(tensor, mixture)
    model.compile(keras.optimizers.Adam(0.03), loss=loss())
    model.fit(inputs, targets, batch_size=50, epochs=epochs, verbose=0)
    return model


def describe(title, model, inputs, vowel, targets):
    """Print how each vowel is shared among the experts."""
    mixture = model.predict(inputs, verbose=0)
    found = keras.ops.convert_to_numpy(blend(mixture))
    right = np.mean((found > 0) == (targets > 0))
    print(f"\n{title}: {right:.1%} of the vowels told apart")
    shares = np.exp(mixture[..., -1])
    for index, name in enumerate(VOWELS):
        mean = np.mean(shares[vowel == index], axis=0)
        row = "  ".join(f"{share:4.0%}" for share in mean)
        print(f"  {name:5} weights of the experts: {row}")
    return right


def draw_panel(panel, title, model, formants, vowel):
    """Draw where each expert has most weight, its line and the blend's."""
    first, second = np.meshgrid(
        np.linspace(200, 950, 220), np.linspace(850, 2800, 220)
    )
    grid = scale(np.stack([first.ravel(), second.ravel()], axis=1))
    mixture = model.predict(grid, batch_size=4096, verbose=0)
    regions = np.argmax(mixture[..., -1], axis=1).reshape(first.shape)
    blended = keras.ops.convert_to_numpy(blend(mixture))
    for expert in np.unique(regions):
        panel.contourf(
            first,
            second,
            regions == expert,
            levels=[0.5, 1.5],
            colors=COLORS[expert],
            alpha=0.2,
        )
        panel.contour(
            first,
            second,
            np.ma.masked_where(
                regions != expert, mixture[:, expert, 0].reshape(first.shape)
            ),
            levels=[0.0],
            colors=COLORS[expert],
            linewidths=2,
        )
    panel.contour(
        first,
        second,
        blended.reshape(first.shape),
        levels=[0.0],
        colors="black",
        linestyles="dotted",
    )
    for index, name in enumerate(VOWELS):
        chosen = vowel == index
        panel.plot(
            *formants[chosen].T,
            "o" if index % 2 == 0 else "x",
            color="black",
            markersize=3,
            label=name,
        )
    panel.set_title(title, fontsize="medium")
    panel.set_xlabel("first formant / Hz")
    panel.set_ylabel("second formant / Hz")
    panel.legend(fontsize="small")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", default="mixture_of_1991.png")
    arguments = parser.parse_args()

    formants, vowel = draw_vowels(75)
    inputs = scale(formants)
    targets = np.where(vowel % 2 == 0, 1.0, -1.0)[:, None]
    models = {
        title: train(loss, inputs, targets, arguments.epochs, arguments.seed)
        for title, loss in LOSSES.items()
    }
    rights = {
        title: describe(title, model, inputs, vowel, targets)
        for title, model in models.items()
    }
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("\nFor a picture: pip install 'keras-moe[visualization]'")
        return
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, (title, model) in zip(panels, models.items(), strict=True):
        title = f"{title}: {rights[title]:.0%} told apart"
        draw_panel(panel, title, model, formants, vowel)
    figure.suptitle(
        "color: expert of the largest weight; its line; dotted: the blend's",
        fontsize="medium",
    )
    figure.savefig(arguments.picture)
    print(f"\nRegions of the experts: {arguments.picture}")


if __name__ == "__main__":
    main()
