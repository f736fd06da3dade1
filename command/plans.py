"""`meter plans list` and `meter plans assign`."""

from typing import Annotated

import typer

from command.cli import new_app
from command.errors import CommandError
from command.stores import Data, Organization, ask, database_url

app = new_app()


@app.callback()
def plans() -> None:
    """Plans: what they include, and who has which."""


@app.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="Print the plans as JSON.")] = False,
    data: Data = None,
) -> None:
    """List the plans, what they include, and how many accounts have them."""
    url = database_url(data)

    from command.plans_display import show_plans
    from persistence.plans import load_plans

    show_plans(ask(load_plans(url)), as_json=json)


@app.command()
def assign(
    org: Organization,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id: starter.")],
    data: Data = None,
) -> None:
    """Give an organization a plan. What it used stays; live sessions see it within 2 seconds."""
    if not org:
        raise CommandError("an organization's id can't be empty", 2)
    url = database_url(data)

    from persistence.plans import UnknownPlan, assign_plan

    try:
        ask(assign_plan(url, org, plan))
    except UnknownPlan as error:
        raise CommandError(f"{error}; `meter plans list` shows those there are") from error
    typer.echo(f"{org}: {plan}")
