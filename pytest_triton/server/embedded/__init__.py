"""The embedded server, and the backends it brings."""
