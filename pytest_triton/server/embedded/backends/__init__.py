"""Backends written in Python, which the embedded server has under the names of the official ones.

``<name>/model.py`` is what Triton calls, ``common`` what all of them do alike. Everything here runs in the interpreter
of the server, which need not have this project installed: it imports the standard library, NumPy, Triton's own modules,
one another, and each backend the library that it is named for.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - the server's interpreter, not the one this project is installed in
    raise ImportError(
        f"the embedded server's backends need Python 3.10 or newer, and the server runs {sys.version.split()[0]}"
    )
