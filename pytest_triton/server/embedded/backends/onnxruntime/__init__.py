"""ONNX models, run by ONNX Runtime, as the official ``onnxruntime`` backend runs them."""
