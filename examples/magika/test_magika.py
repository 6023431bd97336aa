"""A real network, Google's magika: it must know a file's type, and know it soon."""

from pathlib import Path

import numpy as np
import pytest
from tritonclient.http import InferInput

pytestmark = pytest.mark.triton_model("magika")

JAVASCRIPT = b"""
const http = require("http");

function greet(request, response) {
  const name = new URL(request.url, "http://localhost").searchParams.get("name") || "world";
  response.writeHead(200, { "Content-Type": "text/plain" });
  response.end(`Hello, ${name}!`);
}

http.createServer(greet).listen(8080, () => console.log("listening"));
"""


def make_features(content, settings):
    """Return the first and the last bytes of a file as the network wants them, white space around them cut off."""
    beginning = content[: settings["block_size"]].lstrip()[: settings["beg_size"]]
    end = content[-settings["block_size"] :].rstrip()[-settings["end_size"] :]
    features = np.full(settings["beg_size"] + settings["end_size"], settings["padding_token"], np.int32)
    features[: len(beginning)] = list(beginning)
    features[len(features) - len(end) :] = list(end)
    return features


@pytest.fixture
def triton_inputs(magika_settings):
    """What the performance tests send: this file, in place of random numbers."""
    return {"bytes": make_features(Path(__file__).read_bytes(), magika_settings)}


def test_knows_source_code(triton_client, magika_settings):
    contents = {"python": Path(__file__).read_bytes(), "javascript": JAVASCRIPT}
    batch = np.stack([make_features(content, magika_settings) for content in contents.values()])
    request = InferInput("bytes", batch.shape, "INT32")
    request.set_data_from_numpy(batch)
    scores = triton_client.infer("magika", [request]).as_numpy("target_label")
    labels = [magika_settings["target_labels_space"][index] for index in scores.argmax(axis=1)]
    assert labels == list(contents)
    assert scores.max(axis=1) == pytest.approx(1, abs=0.1)


@pytest.mark.triton_load(concurrency=[1, 8])
@pytest.mark.triton_slo(p95="500ms", throughput="10/s", error_rate="0%")
def test_meets_its_slo(triton_perf):
    triton_perf()


@pytest.mark.triton_load(rate="10/s", protocol="grpc")
@pytest.mark.triton_slo(p90="500ms", error_rate="0%")
def test_answers_in_time_whoever_asks(triton_perf):
    triton_perf()
