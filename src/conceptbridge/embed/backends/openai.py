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
        "model": {"type": "string", "minLength": 1, "description": "the service's name of it"},
        "revision": {"type": "string", "minLength": 1, "description": "a word of your own that tells versions apart"},
        "normalize": {"type": "boolean", "description": "scale vectors to norm 1"},
        "prompt": {"type": "string", "description": "text put before every text"},
        "url": {"type": "string", "pattern": "^https?://", "description": "of the service"},
        "key_env": {
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "description": "environment variable with the key",
        },
        "key_header": {
            "type": "string",
            "pattern": "^[A-Za-z][A-Za-z0-9-]*$",
            "description": "header that carries the key",
        },
        "dimensions": {"type": "integer", "minimum": 1, "description": "asked of the service"},
        "price": {"type": "number", "minimum": 0, "description": "USD per million tokens"},
        "concurrency": {"type": "integer", "minimum": 1, "maximum": 64, "description": "requests at once"},
        "request_tokens": {"type": "integer", "minimum": 1, "description": "tokens per request"},
        "request_texts": {"type": "integer", "minimum": 1, "description": "texts per request"},
        "timeout": {"type": "number", "exclusiveMinimum": 0, "description": "seconds to wait for an answer"},
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
