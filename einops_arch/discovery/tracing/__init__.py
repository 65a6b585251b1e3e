"""Record what old reshape code does to its tensors."""
