"""The operations as TensorFlow does them, with and without XLA."""
