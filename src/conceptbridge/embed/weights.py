"""Whether the weights of a model's files are those that it runs with."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from conceptbridge.core.errors import StudyError


@dataclass(frozen=True)
class Loaded:
    """A model of transformers, and what its files had too little and too much."""

    model: PreTrainedModel
    #: parameters that the files lack; transformers has drawn them at random
    missing: tuple[str, ...]
    #: tensors of the files that the model does not have
    unused: tuple[str, ...]


@contextmanager
def recorded_loading() -> Iterator[list[Loaded]]:
    """Record every model that transformers loads meanwhile, also inside other libraries."""
    loaded: list[Loaded] = []
    original: Any = PreTrainedModel.__dict__["from_pretrained"]

    def from_pretrained(cls: type[PreTrainedModel], *args: Any, **kwargs: Any) -> Any:
        model, told = original.__func__(cls, *args, **kwargs | {"output_loading_info": True})
        missing = {*told["missing_keys"], *(key[0] for key in told["mismatched_keys"])}
        loaded.append(Loaded(model, tuple(sorted(missing)), tuple(sorted(told["unexpected_keys"]))))
        return (model, told) if kwargs.get("output_loading_info") else model

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)
    try:
        yield loaded
    finally:
        PreTrainedModel.from_pretrained = original


def check_weights(name: str, loaded: Sequence[Loaded], vectors: Callable[[], torch.Tensor]) -> None:
    """Raise StudyError where random numbers, or weights that were left out, would change a vector.

    What the files lack is filled with NaN: what a vector depends on shows at once (``vectors`` computes some), and
    what none depends on, such as a pooler, can never spoil one unseen.
    """
    for one in loaded:
        own = dict(one.model.named_parameters()) | dict(one.model.named_buffers())
        if cut := _cut_off(one.unused, own):
            raise StudyError(
                f"{name}: its files have weights that its config.json leaves out ({_some(cut)}); take the files "
                "as the model's makers published them, with adapters merged in"
            )
        with torch.no_grad():
            for key in one.missing:
                if key in own and own[key].is_floating_point():
                    own[key].fill_(torch.nan)
    missing = [key for one in loaded for key in one.missing]
    if missing and not bool(torch.isfinite(vectors()).all()):
        raise StudyError(
            f"{name}: its files lack {len(missing)} of the model's parameters ({_some(missing)}), and its vectors "
            "would be random without them; take the files as the model's makers published them, or another model"
        )


def _cut_off(unused: Sequence[str], own: dict[str, Any]) -> list[str]:
    """Tensors of further layers of a kind that the model has, and of adapters: no head is one of them."""
    kinds = {_kind(key) for key in own}
    return [key for key in unused if "lora_" in key or (_kind(key) in kinds and re.search(r"\.\d+\.", key))]


def _kind(key: str) -> str:
    return re.sub(r"\d+", "#", key)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
