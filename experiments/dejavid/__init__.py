"""DejaVid: learned temporal matching of embedding sequences, trained and evaluated."""
