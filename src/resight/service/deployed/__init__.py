"""Exported networks as runs: predict and explain through onnxruntime, without torch."""
