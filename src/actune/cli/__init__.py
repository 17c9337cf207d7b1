"""The command line: each command calls one function of the library and shows what it returns."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperCommand

from .bench import bench_command
from .card import card_command
from .compare import compare_command
from .data import data_command
from .explore import explore_command
from .export import export_command
from .report import report_command
from .reproduce import reproduce_command
from .search import search_command
from .show import list_command, show_command

__all__ = ["app", "main"]

EXIT_INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended
RESUME = "interrupted; given again, reproduce goes on where it stopped, and so does search with --storage"

app = typer.Typer(
    name="actune",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Find, run and ship the activation function that suits a neural network.",
    epilog="Start with:  actune search digits",
)


class _Formulas(TyperCommand):
    """A command that has a short option and lets a formula begin with '-'."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f" {a}" if a.startswith("-") and not a.startswith("--") and a != "-o" else a for a in args])


FORMULAS = {"ignore_unknown_options": True}  # a formula may begin with a minus
app.command("list", epilog="Example:  actune list zorro")(list_command)
app.command(
    "show", context_settings=FORMULAS, epilog="Examples:  actune show ml_tanh --plot tanh.png  |  actune show 'x*sigmoid(b*x); b=1'"
)(show_command)
app.command("explore", epilog="Examples:  actune explore  |  actune explore -o explorer.html --model card.json")(explore_command)
app.command(
    "export",
    cls=_Formulas,
    epilog="Examples:  actune export best.json -o best.c  |  actune export 'ml_tanh; beta2=1.3' -o tanh.onnx",
)(export_command)
app.command(
    "compare",
    context_settings=FORMULAS,
    epilog="Example:  actune compare digits relu gelu apalu 'tanh(x) + erf(x)' --seeds 10 --workers 2",
)(compare_command)
app.command("search", epilog="Example:  actune search digits --trials 100 --workers 2 --storage digits.db --plot digits.png")(
    search_command
)
app.command(
    "report",
    epilog="Examples:  actune report digits.db -o report.html  |  actune report studies.db --study digits --json",
)(report_command)
app.command(
    "reproduce",
    epilog="Examples:  actune reproduce --scale smoke  |  actune reproduce zorro/depth --workers 2  |  actune reproduce --table",
)(reproduce_command)
app.command(
    "bench",
    cls=_Formulas,
    epilog="Examples:  actune bench  |  actune bench sau 'x*sigmoid(b*x); b=1' --sizes 1e4,1e6 --scopes layer,channel --plot a.png",
)(bench_command)
app.command("card", epilog="Examples:  actune card nets.py:make --state net.pt --input batch.pt  |  actune card bert/")(
    card_command
)
app.command("data", epilog="Examples:  actune data  |  actune data mnist --folder data")(data_command)


def main() -> None:
    """Run the command line; bad input ends with one line on the error stream and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except SystemExit as ended:
        if ended.code == EXIT_INTERRUPTED:
            _fail(RESUME, EXIT_INTERRUPTED)
        raise
    except typer.TyperException as error:
        _fail(getattr(error, "format_message", error.__str__)())
    except (ValueError, OSError) as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        _fail(RESUME, EXIT_INTERRUPTED)
    except RuntimeError as error:
        from ..discovery.study.storage.patience import SearchError

        if not isinstance(error, SearchError):
            raise
        _fail(str(error), 1)


def _fail(message: str, code: int = 2) -> None:
    if message:  # empty where the help was printed instead
        print(f"actune: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
