"""The version, in one place, readable without importing jax."""

__version__ = "0.1.0"
