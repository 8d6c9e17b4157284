"""Temporal sequences of embeddings (TSEs): files -> checked splits -> padded batches."""
