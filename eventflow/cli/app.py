"""The root of the command line: its commands, its version, and how errors are told."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Any

import click

from eventflow.cli.commands.blocks import block
from eventflow.cli.commands.cancel import cancel
from eventflow.cli.commands.deliveries import deliveries
from eventflow.cli.commands.hooks import hooks
from eventflow.cli.commands.maintenance import prune, verify
from eventflow.cli.commands.recover import recover
from eventflow.cli.commands.replay import replay
from eventflow.cli.commands.run import run
from eventflow.cli.commands.runs import events, runs
from eventflow.cli.commands.tail import tail
from eventflow.errors import ConfigurationError, EventflowError

__all__ = ["app"]

INTERRUPTED = 130


class Unready(click.ClickException):
    """Something about the surroundings has to be put right first."""

    exit_code = 2


class Root(click.Group):
    """Tells what eventflow refuses, and an interrupt, the same way for every command."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """Give the commands in the order in which people should meet them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise Unready(str(error)) from error
        except EventflowError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eventflow-runtime", message="eventflow %(version)s")
def app() -> None:
    """Run flows, see what happens to them and their hooks, and keep the blocks they use."""
    for stream in (sys.stdout, sys.stderr):
        # What a terminal cannot show must not end a run.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


for command in (run, runs, events, tail, cancel, deliveries, replay, hooks, block):
    app.add_command(command)
for command in (recover, prune, verify):
    app.add_command(command)
