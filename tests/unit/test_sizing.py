"""How much of a load a configuration can take at a time."""

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pytest_triton.sizing import Size, size_of


def read(text: str) -> ModelConfig:
    return text_format.Parse(text, ModelConfig())


def test_an_ensemble_takes_what_its_widest_step_takes():
    delayed = "dynamic_batching { max_queue_delay_microseconds: 2000 }"
    batching = read(f"max_batch_size: 8 {delayed} instance_group {{ count: 2 }}")
    many = read("max_batch_size: 8 instance_group { count: 3 }")
    assert size_of(many) == Size(3, 8, batching=False, queue_delay=0.0)
    ensemble = read("max_batch_size: 8")
    assert size_of(ensemble, [many, batching, batching]) == Size(2, 8, batching=True, queue_delay=0.004)
    assert size_of(ensemble) == Size(1, 8, batching=False, queue_delay=0.0)
