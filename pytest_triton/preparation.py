"""The requests of a case, made and looked at once for each configuration that answers them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_triton.case import Case, Inputs
from pytest_triton.correctness import allow
from pytest_triton.load.base import RequestSet
from pytest_triton.load.inputs import make_requests
from pytest_triton.server.base import Server
from pytest_triton.verification import AT_MOST, Reference, Verification, Verified, takes_sequences

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


@dataclass(frozen=True, slots=True)
class _Known:
    """For what a configuration's answers were looked at, and what came of it."""

    inputs: Inputs
    batch_size: int
    sequences: bool
    reference: Reference | None
    verified: Verified

    def covers(self, inputs: Inputs, batch_size: int, sequences: bool, reference: Reference | None) -> bool:
        # Data may be arrays or code, which have no useful equality.
        same = self.inputs is inputs and self.reference is reference
        return same and (self.batch_size, self.sequences) == (batch_size, sequences)


@dataclass(slots=True)
class Preparation:
    """Makes the requests for what a server serves, and checks the answers to them."""

    server: Server
    _known: dict[str, _Known] = field(default_factory=dict)

    def prepare(
        self,
        name: str,
        model: str,
        configuration: ModelConfig,
        case: Case,
        reference: Reference | None = None,
        *,
        again: bool = True,
    ) -> Verified:
        """Make the requests of ``case`` for what is called ``name`` on the server, and look at the answers.

        What was looked at already is made no second time. Unless ``again`` is false, one request is sent then, to see
        that it is still answered.
        """
        inputs, batch_size = case.inputs, case.load.batch_size
        sequences = case.load.sequence_length is not None or takes_sequences(configuration)
        verification = Verification(
            self.server,
            name,
            model,
            configuration,
            sequences=sequences,
            validate=inputs.validate,
            tolerances=allow(inputs.tolerance),
            reference=reference,
        )
        known = self._known.get(name)
        if known is not None and known.covers(inputs, batch_size, sequences, reference):
            if again:
                replace(verification, validate="none").verify(known.verified.requests, at_most=1)
            return known.verified
        verified = verification.verify(self._make_requests(name, configuration, inputs, batch_size), at_most=AT_MOST)
        self._known[name] = _Known(inputs, batch_size, sequences, reference, verified)
        return verified

    def forget(self) -> None:
        """Look at all answers anew: one of the models is another one now, and an ensemble that calls it is, too."""
        self._known.clear()

    def _make_requests(self, name: str, configuration: ModelConfig, inputs: Inputs, batch_size: int) -> RequestSet:
        return make_requests(
            self.server.control.metadata(name),
            max_batch_size=configuration.max_batch_size,
            inputs=inputs,
            batch_size=batch_size,
            model=name,
            optional={i.name for i in configuration.input if i.optional},
        )
