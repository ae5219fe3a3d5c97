"""The files that a command writes of a run: a page, a picture, a trace."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import click

from eventflow.cli.display.times import bytes_in_words
from eventflow.client.archive import Archive
from eventflow.client.records import RunRecord
from eventflow.dashboard.export.page import run_page
from eventflow.dashboard.export.perfetto import trace_json
from eventflow.dashboard.export.story import story_of, timeline_in
from eventflow.dashboard.timeline.rendering import timeline_svg
from eventflow.settings import EVENTFLOW_API_URL

__all__ = ["write_run"]

STANDARD_OUTPUT: Final = "-"


def write_run(archive: Archive, run: RunRecord, files: Mapping[str, str]) -> None:
    """Write a run to files, by their format; `-` is standard output.

    Raises:
        MissingExtraError: a page or a picture is wanted, and jinja2 is not installed.
    """
    # All of them are made before one is written.
    texts = [(file, _made(archive, run, format_)) for format_, file in files.items()]
    for file, text in texts:
        data = text.encode()
        if file == STANDARD_OUTPUT:
            sys.stdout.buffer.write(data)
        else:
            Path(file).write_bytes(data)
            click.echo(f"Wrote {file} ({bytes_in_words(len(data))}).", err=True)


def _made(archive: Archive, run: RunRecord, format_: str) -> str:
    now = datetime.now(UTC)
    if format_ == "html":
        return run_page(story_of(archive, run, now), _address(run.run_type, run.id))
    timeline = timeline_in(archive, run.id, now)

    return trace_json(timeline) if format_ == "perfetto" else timeline_svg(timeline, _address)


def _address(run_type: str, run_id: UUID) -> str:
    """Return the address of the page of a run, as `runtime.flow_run.ui_url` has it."""
    return f"{EVENTFLOW_API_URL.value()}/{run_type}-runs/{run_type}-run/{run_id}"
