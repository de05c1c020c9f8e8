"""Export a run, fold or blend for use without fer_kit: ONNX, torch.export, or a packed file: `fer-kit export`."""
