"""A model's configuration: config.pbtxt in protobuf's text format <-> ``ModelConfig`` <-> JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.errors import ConfigurationError, nearest

_UNKNOWN_FIELD = re.compile(r'Message type "(?P<type>[\w.]+)" has no field named "(?P<name>\w+)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "(?P<type>[\w.]+)" has no value named (?P<name>\w+)')
_POSITION = re.compile(r"^\d+:\d+ : ")
_QUOTED_LINE = re.compile(r"^'.*?': (?=[A-Z])", re.DOTALL)
_PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}


def read(path: Path) -> ModelConfig:
    """Read a config.pbtxt. Raises ``ConfigurationError``, with line and column where the text is at fault."""
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Read the text of a config.pbtxt with its line ends as they are. Raises ``ConfigurationError``."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", model=path.parent.name) from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        raise ConfigurationError(
            f"{path}:{line}:{column}: byte 0x{raw[error.start]:02x} is not UTF-8",
            hint="Save the file in UTF-8.",
            line=line,
            column=column,
            model=path.parent.name,
        ) from error
    return text


def parse(text: str, origin: str = "config.pbtxt") -> ModelConfig:
    """Parse text format. ``origin`` names the text in errors, which point at line and column."""
    if text.startswith("\ufeff"):
        raise ConfigurationError(
            f"{origin}:1:1: the file begins with a byte order mark, which Triton refuses",
            hint="Save the file in UTF-8 without a byte order mark.",
            line=1,
            column=1,
        )
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise _explain(error, text, origin) from error


def to_text(config: ModelConfig) -> str:
    """Write a configuration in text format, fields in the order of the proto."""
    return show(config)


def show(message: Any, indent: int = 0) -> str:
    """Write any message in text format, with lists of numbers as lists and empty messages on one line."""
    text = text_format.MessageToString(message, use_short_repeated_primitives=True, indent=indent)
    return re.sub(r"\{\n\s*\}", "{ }", text)


def to_json(config: ModelConfig) -> dict[str, Any]:
    """Return a configuration as JSON has it, fields spelled as in the proto: what the load API takes."""
    return json_format.MessageToDict(config, preserving_proto_field_name=True)


def from_json(value: Mapping[str, Any]) -> ModelConfig:
    """Read a configuration as Triton's HTTP endpoint returns it.

    A newer server may know more fields than we do; those are dropped. Raises ``ConfigurationError``.
    """
    try:
        return json_format.ParseDict(dict(value), ModelConfig(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ConfigurationError(f"the JSON of a configuration cannot be read: {error}") from error


def normalise(config: ModelConfig) -> ModelConfig:
    """Return a copy in which what Triton reads as the same is spelled the same.

    The platform's name gives way to the backend that it stands for, and an instance group that asks for no number of
    instances loses the 0. (Triton's core fills the rest in: see ``difference.unapplied``.)
    """
    result = ModelConfig()
    result.CopyFrom(config)
    backend = _PLATFORMS.get(result.platform)
    if backend is not None and result.backend in ("", backend):
        result.backend = backend
        result.platform = ""
    return result


def _explain(error: text_format.ParseError, text: str, origin: str) -> ConfigurationError:
    line, column = error.GetLine() or 0, error.GetColumn() or 0
    reason = _QUOTED_LINE.sub("", _POSITION.sub("", str(error))).rstrip(".")
    hint = ""
    if match := _UNKNOWN_FIELD.search(reason):
        message = _message_type(match["type"])
        known = [field.name for field in message.fields] if message else []
        reason = f"{match['type'].removeprefix('inference.')} has no field {match['name']!r}"
        hint = nearest(match["name"], known)
    elif match := _UNKNOWN_VALUE.search(reason):
        enum = _enum_type(match["type"])
        reason = f"{match['type'].removeprefix('inference.')} has no value {match['name']!r}"
        hint = nearest(match["name"], enum.values_by_name if enum else [])
    lines = text.splitlines()
    details = []
    if 0 < line <= len(lines):
        shown = lines[line - 1].replace("\t", " ")
        details = [shown, " " * (column - 1) + "^"] if column else [shown]
    return ConfigurationError(
        f"{origin}:{line}:{column}: {reason}", hint=hint, line=line, column=column, details=details
    )


def _message_type(full_name: str) -> Descriptor | None:
    try:
        return ModelConfig.DESCRIPTOR.file.pool.FindMessageTypeByName(full_name)  # type: ignore[no-any-return]
    except KeyError:
        return None


def _enum_type(full_name: str) -> EnumDescriptor | None:
    try:
        return ModelConfig.DESCRIPTOR.file.pool.FindEnumTypeByName(full_name)  # type: ignore[no-any-return]
    except KeyError:
        return None
