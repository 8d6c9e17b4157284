r"""How much memory, time, reading and disk a training of DejaVid needs, told from its sizes.

Kinetics-400 on eight cards:

  python -m experiments.sizing --classes=400 --features=1808 --frames=33 --videos=240436 \
      --devices=8

Kinetics-700 with eight times the features, the classes divided among them:

  python -m experiments.sizing --classes=700 --features=16864 --frames=33 --videos=536000 \
      --devices=8 --class_shards=8

Nothing is measured here, and no GPU is needed. Memory follows from the shapes that the code
allocates. Seconds are those of the instructions that the compiled kernels issue, and what the same
kernels took on a card where they were run (kernels/RESULTS.md); every line says which. Steps a
second of your own machine: python -m experiments.k400 --synthetic=k400.
"""

from experiments.sizing.job import main

if __name__ == "__main__":
    main(__doc__)
