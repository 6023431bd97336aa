"""What the ``onnxruntime`` backend does, apart from Triton: all of it can be imported and tested without a server.

The modules run in the interpreter of the server, which need not have this project installed. They import the standard
library, NumPy, ONNX Runtime and one another, and nothing else.
"""
