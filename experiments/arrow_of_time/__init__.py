"""Forward or backward? Segments of real video through the whole chain, from files to answers."""
