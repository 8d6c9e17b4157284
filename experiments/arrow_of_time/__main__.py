r"""The arrow of time: is a segment of real video played forward or reversed?

Shots of the recordings that come with this repository, or of yours, are cut into segments, which
are written as video files, forward and reversed. From there on it is the chain of the README:
experiments.make_list lists them, experiments.extract_tse embeds them, experiments.k400 trains
DejaVid and what it is compared with, TAM compares segments without training. Each recording is
tested on by what was trained on the others; nothing of it was seen in training.

  python -m experiments.arrow_of_time

takes about four minutes on two cores and writes to runs/arrow_of_time; the commands that it runs
are shown. With recordings of your own, FOLDER/<recording>/<shot>.mp4, and another encoder:

  python -m experiments.arrow_of_time --shots=FOLDER --encoder=thumbnail --size=0 --out_dir=...

The same command goes on after a kill.
"""

if __name__ == "__main__":
    # Here, since the processes that decode import this file too, and need nothing of it.
    from experiments.arrow_of_time.job import main

    main(__doc__)
