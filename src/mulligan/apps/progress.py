"""Typed events to progress bars on stderr."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from ..records import Advanced, Event, Finished, Noted, Started


class ProgressBars(AbstractContextManager["ProgressBars"]):
    """Renders events: a bar a job with an estimate of the time left; plain lines where stderr is no terminal."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.live = console.is_terminal and not quiet
        self._bars = Progress(
            TextColumn("{task.description}", table_column=Column(max_width=30, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=14),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            console=console,
            transient=False,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        if self.live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        """An `Emit`."""
        if self.quiet:
            return
        match event:
            case Noted(text=text):
                self.console.print(f"[yellow]note[/yellow] {escape(text)}", highlight=False)
            case Started(job=job, total=total, done=done):
                if self.live and total > 1:
                    self._tasks[job] = self._bars.add_task(escape(job), total=total, completed=done, left="")
                elif total > 1:
                    kept = f", {done} kept from before" if done else ""
                    self.console.print(f"{escape(job)}: {total} pieces{kept}", highlight=False)
            case Advanced(job=job, done=done, total=total, seconds_left=left):
                if self.live and job in self._tasks:
                    self._bars.update(
                        self._tasks[job],
                        completed=done,
                        left="" if left is None or done == total else f"about {duration(left)} left",
                    )
            case Finished(job=job, seconds=seconds):
                if self.live and job in self._tasks:
                    self._bars.update(self._tasks[job], left="")
                elif seconds > 1:
                    self.console.print(f"{escape(job)}: done in {duration(seconds)}", highlight=False)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
