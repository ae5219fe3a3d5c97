"""The root of the command line: its commands, its version, and how errors are shown."""

from __future__ import annotations

import errno
import sys
from io import TextIOWrapper
from typing import Any

import click

from eventflow.cli.commands.blocks import block
from eventflow.cli.commands.cancel import cancel
from eventflow.cli.commands.deliveries import deliveries
from eventflow.cli.commands.hooks import hooks
from eventflow.cli.commands.logs import logs
from eventflow.cli.commands.maintenance import prune, verify
from eventflow.cli.commands.port import port
from eventflow.cli.commands.recover import recover
from eventflow.cli.commands.replay import replay
from eventflow.cli.commands.run import run
from eventflow.cli.commands.runs import events, runs
from eventflow.cli.commands.tail import tail
from eventflow.cli.serving import serve
from eventflow.cli.working import work
from eventflow.errors import ConfigurationError, EventflowError
from eventflow.primitives.escapes import escaped

__all__ = ["app"]

INTERRUPTED = 130


class Misconfigured(click.ClickException):
    """The configuration has to be corrected first."""

    exit_code = 2


class Root(click.Group):
    """Shows errors of eventflow, and an interrupt, in the same way for every command."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """Return the commands in the order of their registration."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise Misconfigured(escaped(str(error))) from error
        except EventflowError as error:
            raise click.ClickException(escaped(str(error))) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends quietly: nobody reads the output any more
            raise click.ClickException(escaped(f"The system refused it: {error}")) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eventflow-runtime", message="eventflow %(version)s")
def app() -> None:
    """Run flows, see what happens to them and their hooks, and keep the blocks they use."""
    for stream in (sys.stdout, sys.stderr):
        # A character that a terminal cannot encode must not end a run.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


for command in (run, runs, events, logs, tail, serve, cancel, deliveries, replay, hooks, block):
    app.add_command(command)
for command in (recover, work, prune, verify, port):
    app.add_command(command)
