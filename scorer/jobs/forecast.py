"""What a look at a sample of the dataset says before the first row is sent."""

from scorer import inputs
from scorer.core.estimate import DEFAULT_CHARS_PER_TOKEN
from scorer.inputs import Dataset
from scorer.templates import Asking

# measured: a task and its result take about this much in the database and the parts together, completion aside
ROW_BYTES = 500
CHARS_PER_OUTPUT_TOKEN = 4
TYPICAL_SHARE = 0.5


def forecast(dataset: Dataset, template: Asking, columns: dict[str, str], tasks: int) -> list[str]:
    """Return lines for people: empty and over-long rows in a sample, prompt lengths, and room on the disk.

    Tokens are estimated at 4 characters each; the hosts' own counts decide later.
    """
    found = inputs.census(dataset, list(columns.values()))
    if not found.sampled:
        return []
    options = template.options
    overhead = len(template.system) + len(template.user)
    tokens = [(overhead + chars) / DEFAULT_CHARS_PER_TOKEN for chars in found.lengths]
    too_long = sum(count + options.num_predict > options.num_ctx for count in tokens)
    answer_bytes = options.num_predict * CHARS_PER_OUTPUT_TOKEN * TYPICAL_SHARE
    lines = [
        f"{found.sampled:,} rows looked at: prompts of about {sum(tokens) / len(tokens):,.0f} tokens, "
        f"the longest {max(tokens):,.0f}; results will take about {_size(tasks * (ROW_BYTES + answer_bytes))} on disk"
    ]
    if found.empty:
        lines.append(
            f"{_share(found.empty, found.sampled)} of them are empty: such rows are not sent, they count as dead"
        )
    if too_long:
        lines.append(
            f"{_share(too_long, found.sampled)} of them may not fit the context of {options.num_ctx:,} tokens "
            f"with {options.num_predict} for the answer: rows that do not fit are dead (more room: num_ctx)"
        )
    return lines


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})"


def _size(size_bytes: float) -> str:
    for unit in ("kB", "MB", "GB"):
        size_bytes /= 1000
        if size_bytes < 1000 or unit == "GB":
            break
    return f"{size_bytes:,.0f} {unit}" if size_bytes >= 10 else f"{size_bytes:.1f} {unit}"
