"""How much each event of a row adds to a transformer's prediction."""

import numpy as np
import torch
from numpy.typing import NDArray

from conceptbridge.learn.networks.event_engine import EventNetwork, member, reproducible, tensors
from conceptbridge.learn.networks.events import chunks, events_of, padded
from conceptbridge.learn.networks.token_table import product
from conceptbridge.learn.networks.transformer import PROJECTION, Tensor, Tensors, embed, features, logits
from conceptbridge.learn.rows import Examples

#: the way from a row without events to the row: from this logarithm of a share to 0, in so many points
CLOSED, POINTS = -16.0, 32


def importance(network: EventNetwork, examples: Examples) -> NDArray[np.float32]:
    """What each event adds to the logit of the outcome: shape (members, tokens of all rows), in the tokens' order.

    Integrated gradients (Sundararajan et al. 2017) on the way from a row without events to the row: all of a row's
    events are let in together, an event of which a share is let in counting in every sum of attention as that
    share of an event. What the ``POINTS`` at which the way is looked at miss is shared by size, so that the numbers of
    a row add up to its logit less that of a row without events. An event that the network does not see (``tokens``)
    has 0. On a processor.
    """
    events, device = events_of(examples, network.tokens), torch.device("cpu")
    result = np.zeros((len(network.seeds), len(examples.tokens)), np.float32)
    place, everybody = np.arange(examples.vectors.shape[0]), np.arange(len(examples))
    # attention is a softmax, so what a share does is smooth by its logarithm
    step = -CLOSED / POINTS
    with reproducible(0, device):
        for i, of_member in enumerate(result):
            w = tensors(member(network, i), device)
            table = torch.from_numpy(product(network.weights[PROJECTION][i], examples.vectors))
            for rows in chunks(events, everybody, 4096):
                some = padded(events, everybody[rows])
                x, there = embed(w, table, place, events, some)
                closed = torch.zeros(there.shape).masked_fill(~there, -torch.inf)
                found = np.zeros(some.there.shape, np.float32)
                for k in range(POINTS):
                    log_share = torch.full(some.there.shape, CLOSED + (k + 0.5) * step, requires_grad=True)
                    mask = closed + torch.nn.functional.pad(log_share, (1, 0))
                    [grad] = torch.autograd.grad(_logit(w, x, mask).sum(), log_share)
                    found += step * np.where(some.there, grad.numpy(), 0)
                with torch.no_grad():
                    whole = _logit(w, x, there) - _logit(w, x[:, :1], None)
                size = np.abs(found) / np.maximum(np.abs(found).sum(axis=1, keepdims=True), 1e-30)
                found += size * (whole.numpy() - found.sum(axis=1))[:, None]
                of_member[events.origin[some.at[some.there]]] = found[some.there]
    return result


def _logit(w: Tensors, x: Tensor, mask: Tensor | None) -> Tensor:
    """The logit of the outcome: (rows,)."""
    of_rows = logits(w, features(w, x, mask))
    return of_rows[:, 1] - of_rows[:, 0]
