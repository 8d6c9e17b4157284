"""Times tempalign and other libraries in one run: ``python -m tempalign.kernels.benchmark``.

What it is made of is in `bench`; README.md beside this file explains the columns.
"""

from tempalign.kernels.bench.command import main

if __name__ == "__main__":
    main()
