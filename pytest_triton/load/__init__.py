"""Load: requests made from a model's metadata, sent by an engine, recorded in a trace."""

from pytest_triton.load.base import Engine, LoadSession, Plan, Request
from pytest_triton.load.inputs import InputSpec, make_request
from pytest_triton.load.wire import WireEngine, WireSession

__all__ = ["Engine", "InputSpec", "LoadSession", "Plan", "Request", "WireEngine", "WireSession", "make_request"]
