"""Renders a model's chat template (Jinja, as `transformers` does) in a sandbox: templates come with downloaded models.

Knows Jinja; knows nothing of tokens.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes, parser
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hetero.errors import InvalidRequestError

Messages = Sequence[Mapping[str, str]]


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text for training; its body counts, the marks do not."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: parser.Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


@cache
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    return environment.from_string(template)


def render_chat(template: str, messages: Messages, special_tokens: Mapping[str, str]) -> str:
    """The prompt, ending where the assistant begins. Raises InvalidRequestError where the template refuses."""
    listed = [dict(message) for message in messages]
    try:
        return _compiled(template).render(
            messages=listed, tools=None, documents=None, add_generation_prompt=True, **special_tokens
        )
    except Exception as error:  # whatever a downloaded template does to a conversation, it is not the server's fault
        raise InvalidRequestError(f"The model's chat template does not take this conversation: {error}.") from None


def plain_chat(messages: Messages) -> str:
    """`role: content` lines and an open assistant's line, for models without a template."""
    lines = [f"{message['role']}: {message['content']}" for message in messages]
    return "\n".join([*lines, "assistant:"])
