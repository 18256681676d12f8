"""A service that speaks OpenAI's ``/v1/embeddings``: OpenAI, Azure, vLLM, TEI, Ollama, infinity."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from conceptbridge.study.backends import Backend, Schema, Spec

if TYPE_CHECKING:
    from conceptbridge.embed.remote import Remote


class OpenAI(Backend):
    """A model behind an address. A server on this machine counts as a service elsewhere, too."""

    name = "openai"
    fields: ClassVar[Mapping[str, Schema]] = {
        "model": {"type": "string", "minLength": 1, "description": "the service's name for the model"},
        "revision": {"type": "string", "minLength": 1, "description": "a word of your own that tells versions apart"},
        "normalize": {"type": "boolean", "description": "whether vectors are scaled to norm 1"},
        "prompt": {"type": "string", "description": "words put before every text"},
        "url": {
            "type": "string",
            "pattern": "^https?://",
            "description": "address of the service, up to `/v1`, or up to `/embeddings`; a query (`?api-version=...`) "
            "stays at the end",
        },
        "key_env": {
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "description": "environment variable with the service's key; the key is stored nowhere else",
        },
        "key_header": {
            "type": "string",
            "pattern": "^[A-Za-z][A-Za-z0-9-]*$",
            "description": "header that carries the key as it is (`api-key` at Azure and its gateways); without it "
            "`Authorization: Bearer`, at *.azure.com `api-key`",
        },
        "dimensions": {
            "type": "integer",
            "minimum": 1,
            "description": "width of the vectors, requested from the service",
        },
        "price": {
            "type": "number",
            "minimum": 0,
            "x-unit": "USD per million tokens",
            "description": "what the service charges, for the estimate",
        },
        "concurrency": {
            "type": "integer",
            "minimum": 1,
            "maximum": 64,
            "description": "requests at once, by default 4",
        },
        "request_tokens": {"type": "integer", "minimum": 1, "description": "tokens per request, by default 20000"},
        "request_texts": {
            "type": "integer",
            "minimum": 1,
            "description": "texts per request, by default 512; halved if a server answers 413",
        },
        "timeout": {
            "type": "number",
            "exclusiveMinimum": 0,
            "x-unit": "seconds",
            "description": "time to wait for an answer, by default 120",
        },
    }
    required = ("model", "url", "width")
    identity = ("model", "revision", "dimensions", "prompt", "normalize")
    remote = True

    def load(self, spec: Spec, threads: int) -> "Remote":
        """The service; its requests go out together whatever ``threads`` there are."""
        from conceptbridge.embed.remote import Remote

        return Remote(spec)

    def estimate(self, spec: Spec, texts: Sequence[str]) -> dict[str, Any]:
        """Texts, tokens, requests and dollars; no call is made, and no key is needed."""
        from conceptbridge.embed.remote import estimate

        return asdict(estimate(spec, texts))
