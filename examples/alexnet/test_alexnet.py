"""Triton's optimisation guide as a test file: does the model work, what does it deliver, and what could it deliver?"""

import numpy as np
import pytest
from tritonclient.http import InferInput

pytestmark = pytest.mark.triton_model("alexnet")


def infer(client, image):
    """Return the probabilities of one image's 1000 classes."""
    request = InferInput("data_0", image.shape, "FP32")
    request.set_data_from_numpy(image)
    return client.infer("alexnet", [request]).as_numpy("prob_1")


def test_verify_inference(triton_client):
    """The server answers, in the right shape, with probabilities, and the same for the same image."""
    one, other = np.random.default_rng(0).random((2, 1, 3, 224, 224), dtype=np.float32)
    probabilities = infer(triton_client, one)
    assert probabilities.shape == (1, 1000)
    assert probabilities.min() >= 0
    assert probabilities.sum() == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(infer(triton_client, one), probabilities, rtol=1e-4)
    assert not np.allclose(infer(triton_client, other), probabilities, rtol=1e-4)


@pytest.mark.triton_load(concurrency=[1, 2, 3, 4])
def test_baseline(triton_perf):
    """What the model delivers as it is configured: one case for each concurrency."""
    triton_perf()


@pytest.mark.triton_slo(p90="250ms", throughput="5/s", error_rate="0%")
def test_meets_its_slo(triton_perf):
    """What the model must deliver. A run that misses a bound fails and says where the time went."""
    triton_perf()


@pytest.mark.triton_search(
    {
        "instance_group.count": [1, 2, 3],
        "parameters.intra_op_thread_count": [1, 2],
        "dynamic_batching": [None, {}],
    },
    objective="throughput",
)
@pytest.mark.triton_load(concurrency=4)
@pytest.mark.triton_slo(p90="500ms")
def test_best_configuration(triton_perf):
    """Which of twelve configurations delivers most within the SLO, and how much more than the default."""
    triton_perf()
