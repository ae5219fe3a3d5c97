"""The live view of a flow run on a terminal; logs and prints scroll above it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from eventflow.cli.display.styles import (
    counts_line,
    escaped_text,
    failure_line,
    run_label,
    style_of,
)
from eventflow.cli.display.tally import Tally, Totals

__all__ = ["live_progress"]

_PER_SECOND: Final = 8
_FAILURES: Final = 5
_BAR: Final = 40


@contextmanager
def live_progress(tally: Tally, console: Console, target: str) -> Iterator[None]:
    """Show the progress of a run until the block ends; then the view is erased."""
    view = _View(tally, console, target)
    with Live(
        console=console,
        get_renderable=view.render,
        refresh_per_second=_PER_SECOND,
        transient=True,
        # Output that is piped elsewhere does not go to the terminal.
        redirect_stdout=sys.stdout.isatty(),
    ):
        yield


class _View:
    """Renders the tally."""

    def __init__(self, tally: Tally, console: Console, target: str) -> None:
        self._tally = tally
        self._console = console
        self._target = target
        self._began = monotonic()
        self._spinner = Spinner("line" if console.options.ascii_only else "dots", style="blue")

    def render(self) -> RenderableType:
        """Render the run, the counts of its tasks and subflows, and the latest failures."""
        totals = self._tally.totals()
        lines: list[RenderableType] = [self._head()]
        if totals.tasks:
            lines += [Padding(self._bar(totals), (0, 2)), self._line(counts_line(totals.tasks))]
        if totals.flows:
            lines.append(self._line(Text.assemble("subflows ", counts_line(totals.flows))))
        # The latest failures come first, right below the counts.
        latest = totals.failures[-_FAILURES:][::-1]
        lines += [self._line(failure_line(failure, self._console)) for failure in latest]
        if len(totals.failures) > _FAILURES:
            more = f"… and {max(totals.failed, len(totals.failures)) - _FAILURES:,} more"
            lines.append(self._line(Text(more, "bright_black")))

        return Group(*lines)

    def _head(self) -> RenderableType:
        seconds = int(monotonic() - self._began)
        elapsed = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        run = self._tally.run
        if run is None:
            status = Text.assemble(("Loading ", "bright_black"), self._target)
        else:
            state = run.state_name or "Pending"
            status = escaped_text(
                Text.assemble(
                    *(run_label(run.flow_name, run.name), "  "),
                    (state, style_of(state)),
                )
            )
        head = Table.grid(padding=(0, 1))
        head.add_row(self._spinner, status, Text(f" {elapsed}", "bright_black"))

        return head

    def _bar(self, totals: Totals) -> RenderableType:
        total = sum(totals.tasks.values())
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total, totals.ended, width=_BAR, complete_style="green"),
            Text(f"{totals.ended:,}/{total:,}", "bright_black"),
        )

        return bar

    @staticmethod
    def _line(text: Text) -> RenderableType:
        text = escaped_text(text)
        text.no_wrap = True
        text.overflow = "ellipsis"

        return Padding(text, (0, 2))
