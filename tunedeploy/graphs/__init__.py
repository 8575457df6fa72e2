"""ONNX graphs as programs: what a file's nodes compute, whatever they are called and however they were rounded."""
