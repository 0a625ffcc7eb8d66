"""The operations as PyTorch does them."""
