"""Weights to a bundle: two ONNX graphs written node by node, quantised, checked against torch, packed."""
