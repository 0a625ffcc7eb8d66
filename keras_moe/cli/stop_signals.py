"""Ctrl-C and SIGTERM as a request that is answered between two steps."""

import signal

import typer

INTERRUPTED = 130  # 128 + SIGINT, as shells count


class StopSignals:
    """Notes the first Ctrl-C or SIGTERM; a second one acts at once.

    Attributes:
        requested: bool, whether one came.
        exit_code: int, with which the process ends after it has saved: 0 after
            SIGTERM, by which clusters take a machine back, 130 after Ctrl-C.

    Example:

    >>> with StopSignals() as stop:
    ...     stop.requested
    False
    """

    def __init__(self):
        self.requested = False
        self.exit_code = 0
        self._previous = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        self._restore()

    def _note(self, number, frame):
        self.requested = True
        self.exit_code = INTERRUPTED if number == signal.SIGINT else 0
        self._restore()
        typer.echo(
            "Stopping after this step; a second Ctrl-C stops at once.", err=True
        )

    def _restore(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
