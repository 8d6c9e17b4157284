"""The TIME layer in front of small spatial classifiers, on real video frames."""
