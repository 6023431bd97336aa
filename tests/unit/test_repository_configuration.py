"""config.pbtxt to ModelConfig and back, and errors that point at the place."""

import pickle
from pathlib import Path

import pytest

from pytest_triton.errors import ConfigurationError
from pytest_triton.repository.configuration import from_json, normalise, parse, read, to_json, to_text

TEXT = """\
name: "alexnet"
platform: "onnxruntime_onnx"
max_batch_size: 8
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text(TEXT)
    config = read(path)
    assert config.max_batch_size == 8
    assert config.instance_group[0].count == 2
    assert config.HasField("dynamic_batching")
    assert config.parameters["intra_op_thread_count"].string_value == "1"


def test_text_and_json_round_trip() -> None:
    config = parse(TEXT)
    assert parse(to_text(config)) == config
    assert from_json(to_json(config)) == config


def test_json_spells_fields_as_the_proto_does() -> None:
    assert to_json(parse(TEXT)) == {
        "name": "alexnet",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 8,
        "instance_group": [{"count": 2, "kind": "KIND_CPU"}],
        "dynamic_batching": {},
        "parameters": {"intra_op_thread_count": {"string_value": "1"}},
    }


def test_a_newer_servers_unknown_fields_are_dropped() -> None:
    assert from_json({"name": "m", "field_of_next_year": {"a": 1}}) == parse('name: "m"')


def test_json_that_is_no_configuration() -> None:
    with pytest.raises(ConfigurationError, match="JSON of a configuration"):
        from_json({"max_batch_size": "many"})


def test_normalise_knows_what_a_platform_stands_for() -> None:
    assert normalise(parse('platform: "onnxruntime_onnx"')) == normalise(parse('backend: "onnxruntime"'))


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ('name: "a"\n  max_batchsize: 4', 2, 3, "did you mean 'max_batch_size'?"),
        ("input [\n  { data_type: TYPE_FP23 }\n]", 2, 16, "did you mean 'TYPE_FP32'?"),
        ("instance_group [ { cuont: 2 } ]", 1, 20, "did you mean 'count'?"),
        ("max_batch_size: four", 1, 17, "Couldn't parse integer: four"),
        ("max_batch_size: 99999999999", 1, 17, "out of range"),
        ("max_batch_size: 1\nmax_batch_size: 2", 2, 0, "should not have multiple"),
        ('name: "a', 1, 7, "missing ending quote"),
        ("dynamic_batching {", 1, 0, 'Expected "}"'),
        ("dynamic_batching { }\nsequence_batching { }", 2, 1, "scheduling_choice"),
        ('\ufeffname: "a"', 1, 1, "byte order mark"),
    ],
)
def test_an_error_points_at_the_place(text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "models/a/config.pbtxt")
    error = caught.value
    assert error.line == line
    assert not column or error.column == column
    assert error.problem.startswith(f"models/a/config.pbtxt:{error.line}:{error.column}: ")
    assert says in str(error)


def test_an_error_shows_the_line_and_the_column() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse('name: "a"\n\tmax_batchsize: 4')
    assert caught.value.details == (" max_batchsize: 4", " ^")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.line, again.column, str(again)) == (2, 2, str(caught.value))


def test_an_unreadable_encoding(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_bytes(b'name: "a"\n# caf\xe9\n')
    with pytest.raises(ConfigurationError, match=r":2:6: byte 0xe9 is not UTF-8"):
        read(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read(tmp_path / "config.pbtxt")
