"""Stores of sequences in few files: made, taken apart, verified, measured."""
