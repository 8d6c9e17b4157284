"""SEQ on images: virtual sequences, frozen features, episodes, training, report."""
