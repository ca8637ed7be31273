"""What will be sent for one row, exactly, before anything is sent."""

from scorer import inputs, templates
from scorer.core.estimate import DEFAULT_CHARS_PER_TOKEN
from scorer.core.score import json_schema
from scorer.core.values import Unreadable, python_value
from scorer.errors import RowFault, UsageError
from scorer.hosts.base import Frame, Request
from scorer.hosts.ollama import chat_body
from scorer.templates import Template


def preview(dataset: str, prompt: str, row: int, columns: dict[str, str]) -> dict[str, object]:
    """Return a row's messages, schema and options, and an estimate of its tokens.

    `request` is the whole body of its first try as Ollama gets it, but for the model's name, which a run chooses.

    UsageError if the row is not there, or the template cannot be filled from it.
    """
    template = templates.load(prompt)
    opened = inputs.open_dataset(dataset)
    if row >= opened.rows:
        raise UsageError(f"--row {row}: {opened.source} has {opened.rows} rows, the last is {opened.rows - 1}")
    mapping, notes = inputs.map_columns(opened, sorted(template.variables), columns)
    names = list(dict.fromkeys(mapping.values()))
    _, batch = next(opened.read(names, start=row))
    values = {variable: python_value(batch.column(column)[0]) for variable, column in mapping.items()}
    for variable, value in values.items():
        if isinstance(value, Unreadable):
            raise UsageError(f"{opened.source}: row {row}: column {mapping[variable]} holds {value.reason}")
    try:
        rendered = template.render(values)
    except RowFault as fault:
        # in a run one dead row of many; here it is all that was asked for
        raise UsageError(f"{template.source}: row {row} cannot be put into it: {fault.message}") from None
    tokens = (len(template.system) + len(rendered.user)) / DEFAULT_CHARS_PER_TOKEN
    options = template.options
    request = _request(template, rendered.user)
    return {
        "template": template.name,
        "row": row,
        "notes": notes,
        "empty": template.is_empty(values),
        "system": template.system,
        "user": rendered.user,
        "control_tokens_neutralised": rendered.neutralised,
        "schema": request["format"],
        "options": request["options"],
        "request": request,
        "estimated_prompt_tokens": round(tokens),
        "fits": tokens + options.num_predict <= options.num_ctx,
    }


def _request(template: Template, user: str) -> dict[str, object]:
    options = template.options
    frame = Frame("", template.system, json_schema(template.fields), options.num_ctx, options.think)
    body = chat_body(Request(frame, user, options.num_predict, options.temperature, options.seed))
    del body["model"]
    return body
