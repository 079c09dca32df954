"""Trained networks and junctions for other tools: ONNX graphs, SPICE netlists."""
