"""SEQ on images: virtual sequences, frozen features, episodes, report."""
