"""pytest-triton: performance tests for models on NVIDIA Triton Inference Server."""
