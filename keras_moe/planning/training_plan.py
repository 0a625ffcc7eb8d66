"""What one training step needs of a slice of TPUs."""

import dataclasses

from keras_moe.planning.collectives import Traffic


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """What one training step needs of each device of a slice of TPUs.

    Attributes:
        model: str, name of the preset.
        topology: str, such as `"v5p:4x4x4"`.
        devices: int.
        mesh: dict, size of the axes `"data"` and `"expert"`.
        batch: int, sequences per step.
        sequence_length: int, tokens per sequence.
        settings: dict, the other arguments of `plan_training`.
        parameters: int.
        flops: int, multiplications and additions of a step's matrix
            products, forward and backward, on all devices; by the model's
            arithmetic, without attention scores and recomputation.
        memory: dict, bytes on one device: `weights and slots` (and the
            batch), `temporary`, `results` that are in no argument's place,
            `code`.
        available: int, bytes that one device has.
        collectives: dict from the kind to `Traffic`, per step.
        largest: list of `LargeArray` of the largest program compiled.
        layers: int.
        compiled_layers: list of ints, of the models that were compiled.
        seconds: float, how long that took.
    """

    model: str
    topology: str
    devices: int
    mesh: dict
    batch: int
    sequence_length: int
    settings: dict
    parameters: int
    flops: int
    memory: dict
    available: int
    collectives: dict[str, Traffic]
    largest: list
    layers: int
    compiled_layers: list
    seconds: float

    @property
    def title(self):
        """str: what is trained where, in one line."""
        axes = " x ".join(f"{name} {n}" for name, n in self.mesh.items())
        return (
            f"{self.model} on {self.topology}, {axes}, {self.batch} x "
            f"{self.sequence_length:,} tokens"
        )

    @property
    def needed(self):
        """int: bytes that one device needs."""
        return sum(self.memory.values())

    @property
    def fits(self):
        """bool: whether each device has as much memory as it needs."""
        return self.needed <= self.available

    @property
    def is_extrapolated(self):
        """bool: whether models of fewer layers were compiled instead."""
        return self.layers not in self.compiled_layers

    def to_dict(self):
        """Return all of it as numbers, strings, lists and dicts for JSON.

        Returns:
            dict.
        """
        record = dataclasses.asdict(self)
        record["collectives"] = {
            kind: traffic._asdict()
            for kind, traffic in self.collectives.items()
        }
        record["largest"] = [each._asdict() for each in self.largest]
        return {
            **record,
            "needed": self.needed,
            "fits": self.fits,
            "is_extrapolated": self.is_extrapolated,
        }
