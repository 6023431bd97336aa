"""What the ``onnxruntime`` backend does, apart from Triton: all of it can be imported and tested without a server.

The modules run in the interpreter of the server, which need not have this project installed. They import the standard
library, NumPy, ONNX Runtime and one another, and nothing else.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - the server's interpreter, not the one this project is installed in
    raise ImportError(
        f"the onnxruntime backend needs Python 3.10 or newer, and the server runs {sys.version.split()[0]}"
    )
