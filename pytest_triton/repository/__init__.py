"""The model repository on disk: model folders, config.pbtxt as ``ModelConfig``, patches, differences.

``layout``         find the repository of a test file and the models in it
``names``          what can be the name of a model, and what is a path
``contents``       all that is in a repository, for a copy of it, and nothing from outside
``configuration``  config.pbtxt <-> ``ModelConfig`` <-> JSON
``fields``         paths, aliases and values of ``ModelConfig`` fields, checked without any model at hand
``patch``          ``ModelConfig`` + patch -> ``ModelConfig``
``syntax``         where each field of a config.pbtxt stands in its text
``textfile``       a patched config.pbtxt that keeps every byte it need not change
``edits``          where text comes in and goes out for that, and what goes along with it
``installation``   its safe installation, the original kept
``difference``     what differs between two configurations, and whether Triton applied the one asked for

Nothing here talks to a server. Protobuf is imported by all but the first three: import the others where a marker of
ours is in use, not in every pytest run.
"""
