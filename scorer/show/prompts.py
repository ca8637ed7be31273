"""What `scorer prompts` says: the templates there are, and what would be sent for a row."""

import json
from collections.abc import Sequence

from scorer.show.words import table
from scorer.templates import Template


def prompts_table(shipped: Sequence[Template]) -> str:
    """Return one line a template."""
    rows = [
        (
            template.name,
            ", ".join(sorted(template.variables)),
            ", ".join(f"{field.name} ({field.type})" for field in template.fields),
        )
        for template in shipped
    ]
    return table(("template", "variables", "output"), rows)


def preview_text(found: dict[str, object]) -> str:
    """Return what will be sent for a row, as a person reads it."""
    notes = found["notes"]
    lines = [str(note) for note in notes] if isinstance(notes, list) else []
    lines += [
        f"--- system ---\n{found['system']}",
        f"--- user (row {found['row']}) ---\n{found['user']}",
        f"--- format ---\n{json.dumps(found['schema'])}",
        f"--- options ---\n{json.dumps(found['options'])}",
        f"--- and besides ---\n{json.dumps(_besides(found['request']))}",
        f"about {found['estimated_prompt_tokens']} prompt tokens, by 4 characters a token"
        + ("" if found["fits"] else ": will probably not fit the context"),
    ]
    if found["empty"]:
        lines.append("this row is empty: it will not be sent")
    if found["control_tokens_neutralised"]:
        lines.append(f"{found['control_tokens_neutralised']} chat control tokens in the row were made harmless")
    return "\n".join(lines)


def _besides(request: object) -> dict[str, object]:
    """Return what is in a request that has no section of its own."""
    own = ("messages", "format", "options")
    return {key: value for key, value in request.items() if key not in own} if isinstance(request, dict) else {}
