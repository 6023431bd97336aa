"""Triton in a container of a Docker engine. The ``docker`` package is imported where it is used."""
