"""Whose a container is, by its label; and the end of those whose owner is gone."""

from __future__ import annotations

from contextlib import suppress

from pytest_triton.errors import ServerError
from pytest_triton.owner import Owner
from pytest_triton.server.docker.engine import Engine, asking

LABEL = "pytest-triton.owner"


def own_label() -> dict[str, str]:
    """Return the label of a container that this process owns."""
    return {LABEL: str(Owner.current())}


def remove_abandoned(engine: Engine) -> None:
    """Remove the containers whose owners are gone, and nothing else, ever.

    A container ends by itself when its owner does. What is left is one whose owner was killed before it was started,
    or one of an engine that was killed as well.
    """
    with asking(engine, "list its containers"):
        found = engine.client.api.containers(all=True, filters={"label": LABEL})
    for container in found:
        owner = Owner.read(str((container.get("Labels") or {}).get(LABEL, "")))
        if owner is not None and owner.is_gone():
            with suppress(ServerError):
                remove(engine, str(container["Id"]))


def remove(engine: Engine, container: str) -> None:
    """Kill a container, if it still runs, and remove it with its volumes; one that is gone is none to remove."""
    from docker.errors import APIError, NotFound

    with asking(engine, f"remove the container {container}"):
        try:
            engine.client.api.remove_container(container, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            # It is being removed already: that is what it was started with.
            if error.status_code != 409:
                raise
