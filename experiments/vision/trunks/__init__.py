"""Spatial models that are trained: one interface, and a file for each architecture."""

from experiments.vision.trunks.opening import FORMS, NAMES, RANDOM, open_trunk, trunk_identity
from experiments.vision.trunks.trunk import PRECISIONS, Trunk, trained_filter

__all__ = [
    "FORMS",
    "NAMES",
    "PRECISIONS",
    "RANDOM",
    "Trunk",
    "open_trunk",
    "trained_filter",
    "trunk_identity",
]
