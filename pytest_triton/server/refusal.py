"""Why Triton refused a model, or a model does not answer, in words that begin with the cause."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from pytest_triton.errors import LoadNotAllowed, ModelLoadError, RequestError, ServerError
from pytest_triton.server import log as server_log

_NOT_EXPLICIT = "explicit model load / unload is not allowed"
_POLL_FAILED = "failed to poll from model repository"
_LOG_WITHIN, _LOG_POLL = 0.5, 0.01
_NOISE = re.compile(
    r"failed to (?:load|unload) '[^']*', "
    r"|load failed for model '[^']*': "
    r"|version \d+ is at \w+ state: "
    r"|Failed to process the request\(s\) for model (?:instance )?'[^']*', message: "
    r"|\[request id: [^\]]*\] "
    r"|(?:Internal|Invalid argument|Not found|Unavailable|Unsupported): "
)


def make_refusal(
    said: str,
    *,
    model: str,
    action: str,
    address: str,
    log: Path | None = None,
    written: int = 0,
    advise: Callable[[str], str] | None = None,
) -> ServerError:
    """Return the error for Triton's refusal to ``load`` or ``unload`` a model.

    ``log`` is the server's, where it can be read, and ``written`` how long it was before: some reasons stand only
    there. ``advise`` turns a reason into what to do about it, "" for nothing to say.
    """
    if _NOT_EXPLICIT in said:
        return LoadNotAllowed(
            f"the server at {address} does not allow models to be loaded or unloaded",
            model=model,
            hint="Start it with --model-control-mode=explicit; without, what it serves is measured as it is.",
        )
    reason = clean_reason(said)
    if _POLL_FAILED in reason and log is not None:
        reason = _find_refusal(log, model, written) or reason
    first, *rest = (line for line in reason.splitlines() if line.strip())
    problem = f"Triton refused to {action} {model}: {first}"
    if action != "load":
        return ServerError(problem, model=model, details=rest)
    hint = advise_process(reason) or (advise(reason) if advise is not None else "")
    return ModelLoadError(problem, reason=reason, model=model, details=rest, hint=hint)


def no_answer(model: str, within: float) -> RequestError:
    """Return the error for a request that ``model`` has not answered ``within`` so many seconds."""
    return RequestError(
        f"{model} did not answer a request within {within:g} s",
        model=model,
        hint="Does its code wait for something? Where only the first request takes that long, as one that builds an "
        "engine may, put a model_warmup into its config.pbtxt: it is part of the load then, which may take longer.",
    )


def _find_refusal(log: Path, model: str, written: int) -> str:
    # What a container writes comes by another way than its answers, and may come later.
    deadline = time.monotonic() + _LOG_WITHIN
    while True:
        found = server_log.find_refusal(log, model, since=written)
        if found or time.monotonic() > deadline:
            return found
        time.sleep(_LOG_POLL)


def advise_process(reason: str) -> str:
    """Say what it means that Triton's Python backend finds a model's process unhealthy; "" for other reasons."""
    if "is not healthy" not in reason:
        return ""
    return "The model's process has ended: it exited, crashed, or was killed for want of memory. Load the model anew."


def advise_access(status: str) -> str:
    """Say what to do when a server, or a proxy before it, wants to know who asks; "" for other statuses."""
    if status not in {"401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return ""
    return 'It wants a token: --triton-header="Authorization: Bearer env:NAME" sends that of an environment variable.'


def clean_reason(reason: str) -> str:
    """Strip Triton's wrapping from the reason why it refused a model, so that the cause comes first.

    >>> clean_reason("load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: no such file;")
    'no such file'
    """
    text = reason.strip().rstrip(";\n ")
    while (noise := _NOISE.match(text)) is not None and noise.end() < len(text):
        text = text[noise.end() :]
    return text
