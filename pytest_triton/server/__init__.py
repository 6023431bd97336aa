"""Triton servers: started for us, or running somewhere."""

from pytest_triton.server.base import Endpoints, Server
from pytest_triton.server.control import ModelControl
from pytest_triton.server.docker.server import DockerServer
from pytest_triton.server.embedded.server import EmbeddedServer
from pytest_triton.server.local import LocalServer
from pytest_triton.server.remote import RemoteServer

__all__ = ["DockerServer", "EmbeddedServer", "Endpoints", "LocalServer", "ModelControl", "RemoteServer", "Server"]
