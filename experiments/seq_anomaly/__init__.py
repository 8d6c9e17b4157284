"""SEQ on video anomaly detection: a score for every frame, from a classifier of single frames."""
