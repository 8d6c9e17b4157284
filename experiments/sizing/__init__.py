"""How much memory, time and disk a training of DejaVid needs, before anything is bought or read."""
