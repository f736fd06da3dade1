"""How the command line looks, the same for every command."""

import typer


def new_app() -> typer.Typer:
    """The `app` of a module with one command, or with several that belong together."""
    return typer.Typer(
        add_completion=False,
        no_args_is_help=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",  # joins the lines of a paragraph
    )
