"""`scorer prompts`: the shipped templates, and what they make of a row."""

from typing import Annotated

import typer

from scorer.cli.common import Dataset, Json, Prompt, app, pairs, print_json, print_text
from scorer.cli.completion import template_names

prompts = typer.Typer(help="The templates that ship with scorer, and what they make of a row.", no_args_is_help=True)
app.add_typer(prompts, name="prompts")


@prompts.command("list")
def list_prompts(json_: Json = False) -> None:
    """List the shipped templates."""
    from scorer import templates
    from scorer.show import prompts_table

    shipped = templates.shipped()
    if json_:
        listed = [{"name": t.name, "variables": sorted(t.variables), "source": t.source} for t in shipped]
        print_json({"prompts": listed})
    else:
        print_text(prompts_table(shipped))


@prompts.command("show")
def show_prompt(
    name: Annotated[str, typer.Argument(help="A shipped template's name, or a file.", autocompletion=template_names)],
    json_: Json = False,
) -> None:
    """Print a template's file, to read or to copy and change."""
    from scorer import templates

    found = templates.load(name)
    if json_:
        print_json({"name": found.name, "source": found.source, "text": found.text})
    else:
        print_text(found.text.rstrip())


@prompts.command("preview")
def preview_prompt(
    dataset: Dataset,
    prompt: Prompt = "quality",
    row: Annotated[int, typer.Option(min=0, help="Which row, counted from 0.")] = 0,
    column: Annotated[
        list[str] | None, typer.Option(metavar="VARIABLE=COLUMN", help="Fill a template variable: VARIABLE=COLUMN.")
    ] = None,
    json_: Json = False,
) -> None:
    """Print exactly what will be sent for one row, with an estimate of its tokens."""
    from scorer.jobs.preview import preview
    from scorer.show import preview_text

    found = preview(dataset, prompt, row, pairs(column or []))
    if json_:
        print_json(found)
    else:
        print_text(preview_text(found))
