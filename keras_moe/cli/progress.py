"""What a training run shows as it runs."""

import time


class Progress:
    """Shows a moving line on a terminal, and lasting lines at milestones.

    Args:
        console: `rich.console.Console`.
        steps: int, steps of the whole run.
        first_step: int, steps done before this process.
        tokens_per_step: int.
    """

    def __init__(self, console, steps, first_step, tokens_per_step):
        from rich import progress

        self._steps = steps
        self._first_step = first_step
        self._tokens_per_step = tokens_per_step
        self._started = None
        self._bar = progress.Progress(
            progress.TextColumn("{task.completed}/{task.total}"),
            progress.BarColumn(bar_width=12),
            progress.TextColumn("{task.description}"),
            console=console,
            transient=True,
            # Elsewhere than on a terminal a moving line would be noise.
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(
            "compiling", total=steps, completed=first_step
        )

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *error):
        self._bar.stop()

    def advance(self, step, loss, balance):
        """Show a step that has been done.

        Args:
            step: int, steps done.
            loss: float, nats per byte.
            balance: float or `None`, the load-balancing loss.
        """
        # The first step of a process compiles; it says nothing about speed.
        if self._started is None:
            self._first_step, self._started = step, time.monotonic()
        words = self._words(step, loss, balance)
        self._bar.update(self._task, completed=step, description=words)

    def milestone(self, report):
        """Print a line that stays.

        Args:
            report: dict with `step`, `loss` (nats per byte, mean since the
                previous report), `val_loss` and `load_balancing_loss`.
        """
        step = report["step"]
        width = len(str(self._steps))
        words = self._words(
            step,
            report["loss"],
            report["load_balancing_loss"],
            held_out_loss=report["val_loss"],
        )
        self._bar.console.print(f"{step:{width}}/{self._steps}  {words}")

    def _words(self, step, loss, balance, held_out_loss=None):
        words = [f"loss {loss:.3f}"]
        if held_out_loss is not None:
            words.append(f"held-out {held_out_loss:.3f}")
        if balance is not None:
            words.append(f"balance {balance:.2f}")
        done = step - self._first_step
        if done and self._started is not None:
            seconds = (time.monotonic() - self._started) / done
            words.append(f"{self._tokens_per_step / seconds:,.0f} tokens/s")
            left = (self._steps - step) * seconds
            words.append(f"{_minutes(left)} left")
        return "  ".join(words)


def _minutes(seconds):
    """Write a duration as minutes:seconds, or hours:minutes:seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"
