"""Models that OpenVINO reads, run by it as the official ``openvino`` backend runs them."""
