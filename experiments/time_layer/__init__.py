"""The TIME layer in front of spatial classifiers, small ones or trunks, on video frames."""
