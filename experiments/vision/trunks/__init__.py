"""Spatial models that are trained: one interface, and a file for each architecture."""

from experiments.vision.trunks.opening import FORMS, NAMES, open_trunk
from experiments.vision.trunks.trunk import Trunk, trained_filter

__all__ = ["FORMS", "NAMES", "Trunk", "open_trunk", "trained_filter"]
