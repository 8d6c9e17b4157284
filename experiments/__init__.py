"""Experiments on real data: run from the checkout, not installed."""
