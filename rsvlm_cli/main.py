"""The ``rsvlm`` application, and the one place where an error becomes a line on stderr and an exit code."""

import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from rsvlm_cli import __version__
from rsvlm_cli.commands import (
    ask,
    caption,
    classify,
    count,
    data,
    demo,
    describe,
    describe_change,
    detect,
    detect_change,
    doctor,
    eval,
    export,
    ground,
    info,
    models,
    schema,
    segment,
    train,
    tune,
)
from rsvlm_cli.errors import EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, RsvlmError
from rsvlm_cli.options import with_shared_options

if TYPE_CHECKING:
    from typer._click import Context  # What TyperGroup is annotated with; Typer exports its own subclass only.

EPILOG = (
    "Exit codes: 0 done, 2 usage, 3 input cannot be used, 4 model cannot be used, 5 reply unusable or truncated, "
    "6 some items failed, 10 the answer is no (--test), 130 interrupted."
)

logger = logging.getLogger("rsvlm_cli")


class RsvlmGroup(TyperGroup):
    """A group whose errors are one line: found, wanted, way out."""

    def invoke(self, ctx: "Context") -> object:
        """Run a command; turn what it raises into a line and an exit code."""
        debug = bool(ctx.params.get("debug"))
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, TyperException):
            raise
        except KeyboardInterrupt:
            _end("interrupted", EXIT_INTERRUPTED, debug)
        except BrokenPipeError:
            # Whoever read us has left: nothing to say, and nothing more may be flushed at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_PIPE_CLOSED) from None
        except RsvlmError as error:
            _end(str(error), error.exit_code, debug)
        except Exception as error:
            _end(f"{type(error).__name__}: {error} (a fault of rsvlm: run again with rsvlm --debug)", 1, debug)
        return result

    def main(self, *args: Any, **extra: Any) -> object:
        """Parse and run; a usage error is one line too."""
        standalone = extra.pop("standalone_mode", True)
        try:
            code = super().main(*args, **extra | {"standalone_mode": False})
        except TyperException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "rsvlm"
            message = error.format_message().rstrip(".")
            sys.stderr.write(f"error: {_one_line(message)} (see {path} --help)\n")
            code = error.exit_code
        except typer.Abort:
            code = EXIT_INTERRUPTED
        if standalone:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def _end(message: str, code: int, debug: bool) -> NoReturn:
    """Write the line (and where asked the traceback of the error in flight) and leave."""
    if debug:
        logger.error("traceback", exc_info=True)
    sys.stderr.write(f"error: {_one_line(message)}\n")
    raise typer.Exit(code)


def _one_line(message: str) -> str:
    return " ".join(message.split())


app = typer.Typer(
    cls=RsvlmGroup,
    help="Ask, measure and map satellite and aerial images with a local vision-language model. No network, no GPU.",
    epilog=EPILOG,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more on stderr.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the libraries' own messages.")] = False,
) -> None:
    """Set up what every command shares: where messages go."""
    level = logging.DEBUG if debug else logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    set_up_messages(level, debug=debug)
    if version:
        typer.echo(f"rsvlm {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def set_up_messages(level: int, *, debug: bool) -> None:
    """Send our messages to stderr as ``level: message``, and keep the libraries silent unless debugging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(level)
    if not debug:
        # GDAL's messages arrive through rasterio's logger; what matters of them is in our own error line.
        logging.getLogger().addHandler(logging.NullHandler())
        warnings.simplefilter("ignore")


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        name = "note" if record.levelno <= logging.INFO else record.levelname.lower()
        text = f"{name}: {_one_line(record.getMessage())}"
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


for module in (
    ask,
    caption,
    classify,
    ground,
    detect,
    count,
    describe,
    segment,
    detect_change,
    describe_change,
    info,
    doctor,
    demo,
    schema,
    eval,
    export,
    train,
    tune,
):
    name = module.__name__.rpartition(".")[2]
    epilog = "\n\n".join(("Examples:", *module.EXAMPLES))
    app.command(name.replace("_", "-"), epilog=epilog)(with_shared_options(getattr(module, name)))
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
