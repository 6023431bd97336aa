"""Load: requests made from a model's metadata, sent by an engine, recorded in a trace."""

from pytest_triton.load.base import TLS, Engine, LoadSession, Plan, Request, RequestSet
from pytest_triton.load.inputs import InputSpec, make_request, make_requests
from pytest_triton.load.session import WorkerSession
from pytest_triton.load.wire import WireEngine

__all__ = [
    "TLS",
    "Engine",
    "InputSpec",
    "LoadSession",
    "Plan",
    "Request",
    "RequestSet",
    "WireEngine",
    "WorkerSession",
    "make_request",
    "make_requests",
]
