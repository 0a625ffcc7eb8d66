"""The operations as JAX does them."""
