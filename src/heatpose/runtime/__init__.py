"""Trained networks without torch: the bundle, OpenVINO and ONNX Runtime."""
