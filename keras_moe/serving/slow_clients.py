"""HTTP connections of clients that do not go on."""

import math

from uvicorn.protocols.http.h11_impl import H11Protocol


def impatient_protocol(seconds):
    """Make a protocol that closes connections of clients that do not go on.

    uvicorn itself waits for ever for the rest of a header, and for a client to
    take its answer.

    Args:
        seconds: float, for a whole header, and between two looks at whether
            some of an answer was taken.

    Returns:
        A class for `uvicorn.Config(http=...)`.
    """

    class ImpatientProtocol(H11Protocol):
        """HTTP/1.1 with a limit on waiting for the client."""

        header_timer = None
        answer_timer = None

        def connection_made(self, transport):
            """Start the clock of a new connection."""
            super().connection_made(transport)
            self.watch_header()

        def data_received(self, data):
            """Stop the clock once the header is whole."""
            super().data_received(data)
            self.watch_header()

        def pause_writing(self):
            """Start to look at whether the client takes its answer."""
            super().pause_writing()
            self.close_if_stuck(math.inf)

        def resume_writing(self):
            """Stop to look: the client takes it."""
            self.stop("answer_timer")
            super().resume_writing()

        def connection_lost(self, exc):
            """Stop the clocks for good."""
            self.stop("header_timer")
            self.stop("answer_timer")
            super().connection_lost(exc)

        def watch_header(self):
            """Let the clock run while a header is on its way."""
            if not self.waits_for_header():
                self.stop("header_timer")
            elif self.header_timer is None:
                self.header_timer = self.loop.call_later(
                    seconds, self.close_if_late
                )

        def waits_for_header(self):
            """Return whether no request is being answered."""
            return self.cycle is None or self.cycle.response_complete

        def close_if_late(self):
            """Close a connection that still waits for a header."""
            self.header_timer = None
            if self.waits_for_header():
                self.transport.close()

        def close_if_stuck(self, before):
            """Drop a connection of whose answer nothing was taken."""
            left = self.transport.get_write_buffer_size()
            if left >= before:
                # Not `close`, which waits for the client.
                self.transport.abort()
                return
            self.answer_timer = self.loop.call_later(
                seconds, self.close_if_stuck, left
            )

        def stop(self, name):
            """Stop a clock."""
            timer = getattr(self, name)
            if timer is not None:
                timer.cancel()
                setattr(self, name, None)

    return ImpatientProtocol
