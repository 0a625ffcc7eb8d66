"""What every way of carrying tokens to experts has in common."""

import abc


class Dispatcher(abc.ABC):
    """Carries tokens to their experts and the experts' outputs back.

    A dispatcher is made for one routing plan, holds no weights and lives for
    one call. How the rows lie in between is its own affair and the expert
    bank's: either sorted by expert with the size of each expert's group, or
    as one block of equal height per expert.
    """

    @abc.abstractmethod
    def dispatch(self, tokens):
        """Lay the tokens out by expert.

        Args:
            tokens: float tensor of shape (G, S, H).

        Returns:
            A pair `(rows, group_sizes)`: rows of shape (R, H) and int32
            group sizes of shape (E,), or rows of shape (E, N, H) and `None`.
        """

    @abc.abstractmethod
    def combine(self, rows):
        """Bring the experts' outputs back to their tokens, weighted.

        Args:
            rows: float tensor laid out as `dispatch` returned it.

        Returns:
            Tensor of shape (G, S, H); 0 for tokens that no expert saw.
        """
