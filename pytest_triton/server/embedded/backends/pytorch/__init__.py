"""TorchScript models, run by PyTorch as the official ``pytorch`` backend runs them."""
