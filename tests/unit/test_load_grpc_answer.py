"""What a gRPC answer is made of: header blocks, messages, responses, and the usual answer as a whole."""

from __future__ import annotations

import itertools

import hpack
import pytest
from hostile_grpc import DATA, END_HEADERS, HEAD, HEADERS, MESSAGE, TAIL, block, frame, good, message, streamed
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from pytest_triton.errors import InputError
from pytest_triton.load.encoding_grpc import encode_headers
from pytest_triton.load.grpc_answer import CODES, Block, BlockReader, MessageReader, describe_status
from pytest_triton.load.grpc_usual import UsualAnswer
from pytest_triton.load.http2 import BrokenFrames
from pytest_triton.load.responses import StreamedResponse, read_response

# -- header blocks


@pytest.mark.parametrize(
    ("data", "meaning"),
    [
        pytest.param(HEAD, Block(200, -1, ""), id="a beginning"),
        pytest.param(TAIL, Block(0, 0, ""), id="an end"),
        pytest.param(b"", Block(0, -1, ""), id="nothing"),
        pytest.param(b"\x20" + HEAD, Block(200, -1, ""), id="after the announcement of an empty table"),
        pytest.param(hpack.Encoder().encode([(":status", "404")]), Block(404, -1, ""), id="of the static table"),
        pytest.param(block(grpc_status=16, grpc_message="a%20b%E2%82%AC"), Block(0, 16, "a b€"), id="a message"),
        pytest.param(block(grpc_status=5, grpc_message="%zz%F"), Block(0, 5, "%zz%F"), id="not percent-encoded"),
        pytest.param(block(grpc_status=17), Block(0, 2, ""), id="no such status"),
        pytest.param(block(grpc_status=-1), Block(0, 2, ""), id="a negative status"),
        pytest.param(block(grpc_status="9" * 30), Block(0, 2, ""), id="a huge status"),
    ],
)
def test_a_header_block_says_how_it_went(data: bytes, meaning: Block) -> None:
    reader = BlockReader()
    assert reader.read(data) == meaning
    assert reader.read(data) == meaning  # from memory


@pytest.mark.parametrize(
    ("data", "match"),
    [
        pytest.param(b"\xbe", "cannot be decoded", id="an index into an empty table"),
        pytest.param(b"\x80", "cannot be decoded", id="an index of zero"),
        pytest.param(HEAD + b"\x20", "cannot be decoded", id="a table's size in the middle"),
        pytest.param(b"\x3f\xe1\x1f" + HEAD, "cannot be decoded", id="a larger table than was allowed"),
        pytest.param(HEAD[:-1], "cannot be decoded", id="cut off"),
        pytest.param(b"\xff" * 20, "cannot be decoded", id="a number without end"),
        pytest.param(bytes(65537), "of 65537 bytes", id="huge"),
        pytest.param(block(x="y" * 65535), "decoded", id="huge when decoded"),
        pytest.param(block(status="20"), "no status of HTTP", id="two digits"),
        pytest.param(block(status="40000"), "no status of HTTP", id="five digits"),
        pytest.param(block(status="no"), "no status of HTTP", id="no number"),
    ],
)
def test_a_header_block_that_is_none_is_broken(data: bytes, match: str) -> None:
    with pytest.raises(BrokenFrames, match=match):
        BlockReader().read(data)


@given(st.one_of(st.binary(max_size=60), st.builds(lambda a, b: HEAD[:a] + b + TAIL, st.integers(0, 30), st.binary())))
def test_any_bytes_are_a_header_block_or_broken(data: bytes) -> None:
    try:
        meaning = BlockReader().read(data)
    except BrokenFrames:
        return
    assert -1 <= meaning.status < len(CODES)
    assert 0 <= meaning.http_status < 1000


def test_only_so_many_blocks_are_remembered() -> None:
    reader = BlockReader()
    for number in range(1000):
        reader.read(block(x=number))
    assert len(reader._seen) <= 256


def test_a_status_is_described() -> None:
    assert describe_status(Block(0, 3, " why ")) == "gRPC 3 (INVALID_ARGUMENT): why"
    assert describe_status(Block(0, 14, "")) == "gRPC 14 (UNAVAILABLE)"
    assert len(describe_status(Block(0, 2, "x" * 9999))) < 600


def test_headers_that_no_frame_holds_are_refused() -> None:
    with pytest.raises(InputError, match="16384 can be sent"):
        encode_headers("h:1", secure=True, headers={"x-token": "~" * 20000}, streaming=False)


@pytest.mark.parametrize("value", ["short", "x" * 2000, "y" * 5000])
def test_header_blocks_of_requests_mean_the_same_each_time(value: str) -> None:
    plain, first, again = encode_headers("h:1", secure=True, headers={"X-Token": value, "b": value}, streaming=False)
    with_table, without = hpack.Decoder(), hpack.Decoder()
    without.max_allowed_table_size = 0
    expected = without.decode(plain)
    assert (":path", "/inference.GRPCInferenceService/ModelInfer") in expected
    assert ("x-token", value) in expected
    for each in (first, again, again, again, plain, plain, first, again, first, again):
        assert with_table.decode(each) == expected
    assert without.decode(plain) == expected


# -- messages


@given(st.lists(st.binary(max_size=20), max_size=5), st.lists(st.integers(0, 120), max_size=8))
def test_messages_are_put_together_from_any_pieces(contents: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(message, contents))
    for wanted in (True, False):
        reader = MessageReader(wanted=wanted)
        got: list[bytes] = []
        begins = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
        for begin, end in itertools.pairwise(begins):
            got += reader.feed(data[begin:end])
        assert got == (contents if wanted else [b""] * len(contents))
        assert reader.received == sum(map(len, contents))
        assert not reader.in_message


@pytest.mark.parametrize("data", [b"\0", message()[:4], message()[:-1], message(length=1 << 31)])
def test_half_a_message_is_not_taken_for_one(data: bytes) -> None:
    reader = MessageReader(wanted=True)
    assert reader.feed(data) == []
    assert reader.in_message


@pytest.mark.parametrize("flag", [1, 2, 255])
def test_a_compressed_message_is_broken(flag: int) -> None:
    with pytest.raises(BrokenFrames, match="compressed"):
        MessageReader(wanted=False).feed(message(flag=flag))


# -- responses of a stream

names = st.text(max_size=8)
parameters = st.builds(
    lambda fields: service_pb2.InferParameter(**fields),
    st.one_of(
        st.fixed_dictionaries({"bool_param": st.booleans()}),
        st.fixed_dictionaries({"int64_param": st.integers(-(1 << 63), (1 << 63) - 1)}),
        st.fixed_dictionaries({"string_param": names}),
    ),
)


@st.composite
def infer_responses(draw: st.DrawFn) -> service_pb2.ModelInferResponse:
    response = service_pb2.ModelInferResponse(
        model_name=draw(names), id=draw(names), raw_output_contents=draw(st.lists(st.binary(max_size=20), max_size=2))
    )
    for name, value in draw(st.dictionaries(names, parameters, max_size=3)).items():
        response.parameters[name].CopyFrom(value)
    if draw(st.booleans()):
        response.parameters["triton_final_response"].bool_param = draw(st.booleans())
    for name in draw(st.lists(names, max_size=2)):
        output = response.outputs.add(
            name=name, datatype="FP32", shape=draw(st.lists(st.integers(-1, 1 << 40), max_size=3))
        )
        output.parameters["triton_final_response"].string_param = "an output's own"
    return response


@given(st.one_of(st.just(""), names), infer_responses())
def test_a_response_is_read_as_protobuf_reads_it(error: str, content: service_pb2.ModelInferResponse) -> None:
    sent = service_pb2.ModelStreamInferResponse(error_message=error, infer_response=content)
    final = True
    if "triton_final_response" in content.parameters:
        final = content.parameters["triton_final_response"].bool_param
    read = read_response(sent.SerializeToString())
    assert service_pb2.ModelInferResponse.FromString(read.content) == content
    empty = not content.outputs and not content.raw_output_contents
    assert read._replace(content=b"") == StreamedResponse(error, final, empty, b"")


GOOD_RESPONSE = streamed(final=False)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda at, size, new: GOOD_RESPONSE[:at] + new + GOOD_RESPONSE[at + size :],
            st.integers(0, len(GOOD_RESPONSE)),
            st.integers(0, 4),
            st.binary(max_size=4),
        ),
    )
)
def test_any_bytes_are_a_response_or_not(data: bytes) -> None:
    try:
        read_response(data)
    except ValueError:
        return


# -- the usual answer


def usual(*answers: bytes) -> UsualAnswer:
    """One that looked at these answers, frame by frame."""
    recognised = UsualAnswer(BlockReader())
    for answer in answers:
        at = 0
        while at < len(answer):
            end = at + 9 + int.from_bytes(answer[at : at + 3], "big")
            recognised.learn(answer, at, end)
            at = end
    return recognised


def test_nothing_is_usual_at_first() -> None:
    assert usual().match(good(1), 0) is None


@pytest.mark.parametrize("content", [MESSAGE, b"x", bytes(70_000)])
@pytest.mark.parametrize("stream", [1, 3, 0x7FFFFFFF, 0x0A0D5B5D])
def test_an_answer_like_the_last_is_recognised(content: bytes, stream: int) -> None:
    data = b"before" + good(stream, content) + good(9)
    found = usual(good(1)).match(data, 6)
    assert found is not None
    id, begin, end, after = found
    assert id == stream.to_bytes(4, "big")
    assert data[begin:end] == content
    assert after == 6 + len(good(stream, content))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(good(1, b""), id="an empty message"),
        pytest.param(good(1).replace(TAIL, block(grpc_status=1)), id="an error"),
        pytest.param(good(1).replace(HEAD, block(status=503, content_type="application/grpc")), id="of a proxy"),
        pytest.param(good(1).replace(message(), message(flag=1)), id="compressed"),
        pytest.param(good(1).replace(message(), message(length=3)), id="two messages"),
        pytest.param(good(1)[: -len(TAIL) - 9] + good(3)[-len(TAIL) - 9 :], id="of two streams"),
        pytest.param(frame(HEADERS, END_HEADERS, 1, HEAD) + good(1), id="two beginnings"),
        pytest.param(good(1).replace(message(), message()[:3]), id="half a prefix"),
    ],
)
def test_what_is_no_good_answer_is_neither_learned_nor_recognised(answer: bytes) -> None:
    assert usual(answer).match(answer, 0) is None
    assert usual(good(1)).match(answer, 0) is None
    if answer != frame(HEADERS, END_HEADERS, 1, HEAD) + good(1) and answer != good(1, b""):
        assert usual(answer).match(good(1), 0) is None


@pytest.mark.parametrize("cut", range(1, 20, 3))
def test_an_answer_that_is_not_all_there_is_not_recognised(cut: int) -> None:
    assert usual(good(1)).match(good(3)[:-cut], 0) is None


def test_a_message_that_looks_like_the_end_of_an_answer_is_a_message() -> None:
    content = MESSAGE + frame(HEADERS, 5, 3, TAIL) + good(3)
    data = good(3, content)
    found = usual(good(1)).match(data, 0)
    assert found is not None
    assert data[found[1] : found[2]] == content


@given(st.integers(0, len(good(3)) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed_unless_it_is_the_messages_own(at: int, change: int) -> None:
    data = bytearray(good(3))
    data[at] ^= change
    found = usual(good(1)).match(bytes(data), 0)
    begin = 9 + len(HEAD) + 9 + 5
    if begin <= at < begin + len(MESSAGE):
        assert found is not None
    else:
        assert found is None


def test_frames_between_are_no_part_of_the_usual_answer() -> None:
    between = frame(HEADERS, END_HEADERS, 1, HEAD) + frame(6, 0, 0, bytes(8)) + frame(DATA, 0, 1, message())
    assert usual(between + frame(HEADERS, 5, 1, TAIL)).match(good(3), 0) is None
