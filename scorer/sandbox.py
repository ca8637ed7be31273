"""Jinja as templates and suites use it: sandboxed, strict about undefined names, the same result each time.

Texts of authors are compiled, values of rows never are. There are no global functions and no randomness, and no text
can take in another file. Chat control tokens inside values are broken where they are printed, after every filter, so
that no filter brings one back.

Invariant: compiling raises nothing but `UsageError`; evaluating raises only what `RENDER_ERRORS` lists.
"""

from collections.abc import MutableSequence

import jinja2
import jinja2.meta
import jinja2.runtime
import jinja2.sandbox

from scorer.core.control_tokens import neutralise
from scorer.errors import UsageError

COUNTS = "neutralised counts"  # a key of contexts, and not an identifier: no text can name it

# What the sandboxed evaluation of an author's expression over a row's values may raise: Jinja's own errors, and
# Python's for values of the wrong type, size or shape.
RENDER_ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)


@jinja2.pass_context
def _printed(context: jinja2.runtime.Context, value: object) -> object:
    """Finish every value that a template prints; literal text of the template does not come here."""
    if value is None:
        return ""
    counts: MutableSequence[int] | None = context.get(COUNTS)
    if counts is None:
        return value
    text, broken = neutralise(str(value))
    counts.append(broken)
    return text


def make_environment() -> jinja2.Environment:
    """Return a new environment, to which filters may be added."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, autoescape=False, finalize=_printed
    )
    environment.globals.clear()  # `dict` and `range` are names of columns here, and lipsum is random
    del environment.filters["random"]
    return environment


ENVIRONMENT = make_environment()


def compile_text(
    source: str, place: str, environment: jinja2.Environment = ENVIRONMENT
) -> tuple[jinja2.Template, frozenset[str]]:
    """Compile a text and find the variables it takes from outside; UsageError begins with `place`."""
    try:
        tree = environment.parse(source)
        if list(jinja2.meta.find_referenced_templates(tree)):
            raise UsageError(f"{place}: a template cannot include, import or extend another file")
        return environment.from_string(source), frozenset(jinja2.meta.find_undeclared_variables(tree))
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"{place}, line {error.lineno}: {error.message}") from None
    except (RecursionError, SyntaxError):  # Python's own limits on nesting
        raise UsageError(f"{place}: nested too deeply") from None


def constant(source: str, place: str) -> str:
    """Render a text that takes nothing from the row, so that it is the same for all of them."""
    compiled, variables = compile_text(source, place)
    if variables:
        raise UsageError(
            f"{place} must be the same for every row, so {{{{ {min(variables)} }}}} belongs in user\n"
            "Braces that are meant as they stand go between {% raw %} and {% endraw %}."
        )
    try:
        return compiled.render()
    except RENDER_ERRORS as error:
        raise UsageError(f"{place}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return an error's first line, cut short."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]
