"""The command line: one file a command, each with a `register(app)`."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from typing import Any

import typer

import lamina
import lamina.cli as commands
from lamina.core.config import UserError, nearest

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Every deep structure behind one contract.\n\n"
        "Examples:\n\n"
        "  lamina compare digits            which structure fits, under one budget\n\n"
        "  lamina list                      the structures\n\n"
        "  lamina show lstm                 one of them: idea, equations, size, when to use it\n\n"
        "  lamina check mine.py:MyLayer     the laws, on your own layer\n\n"
        "  lamina reproduce lstm            the paper's claim, seen here"
    ),
)


# the parser's own errors: click's, or the copy of it that newer typers carry
INTERRUPTED = 130  # what a shell calls a program that Ctrl-C ended
UsageError, ClickException = typer.BadParameter.__mro__[1:3]


@app.callback()
def _options(
    context: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    if debug:
        os.environ["LAMINA_DEBUG"] = "1"
    if version:
        print(lamina.__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


for _module in sorted(m.name for m in pkgutil.iter_modules(commands.__path__) if not m.name.startswith("_")):
    importlib.import_module(f"{__name__}.{_module}").register(app)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; bad input is one line on stderr and exit status 2."""
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    try:
        result: Any = app(arguments, prog_name="lamina", standalone_mode=False)
        status = result if isinstance(result, int) else 0
    except UserError as error:
        return _fail(str(error), error)
    except ClickException as error:
        return _fail(_usage(error), error)
    except BrokenPipeError:  # who reads the output, `| head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}; free the place or give another", error)
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status == INTERRUPTED:
        print("stopped; a comparison, training or claim goes on with the same command", file=sys.stderr)
    return status


def _usage(error: Any) -> str:
    """What the parser did not understand, with the nearest right word."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "lamina"
    option, text = getattr(error, "option_name", None), error.format_message()
    if hasattr(error, "possibilities") and option:
        known = [o for p in context.command.params for o in p.opts] if context else error.possibilities
        return f"{where}: {nearest(option, known, 'option')}"
    if text.startswith("No such command"):
        return str(nearest(text.split("'")[1], [c.name for c in app.registered_commands if c.name], "command"))
    return f"{where}: {text[0].lower()}{text[1:].rstrip('.')}; see {where} --help"


def _fail(message: str, error: BaseException) -> int:
    if os.environ.get("LAMINA_DEBUG"):
        raise error
    print(f"error: {message}", file=sys.stderr)
    return 2
