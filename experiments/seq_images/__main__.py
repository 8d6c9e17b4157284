r"""SEQ on images: a classifier of single images that learns from virtual sequences of them.

The paper's setting on your own images, train/<class>/ and test/<class>/ (or images.csv with the
columns path,label,split) in a folder:

  python -m experiments.seq_images --flagfile=experiments/flags/seq_images_cars.txt \
      --data_dir=FOLDER

There are flagfiles for Cars, Dogs, Flowers-102 and SoyAging (_cars, _dogs, _flowers, _soyaging).
Go on after a kill, in the same output folder:

  python -m experiments.seq_images --flagfile=... --data_dir=FOLDER --resume

The same job on silhouettes of animals, which come with this repository, in a few minutes on two
cores:

  python -m experiments.seq_images --flagfile=experiments/flags/seq_images_demo.txt

Sweep the number of support sequences, or the temperature, of a job that is finished:

  python -m experiments.seq_images --flagfile=... --resume --sweep=num_support

Classify an image, a folder of them, or those of a CSV file with what was learned:

  python -m experiments.seq_images --out_dir=runs/seq_images --predict=FILE.jpg

What is compared, over the same seeds and images: "baseline", cross-entropy of the original images;
"trajectory", of the temporal mean of virtual sequences, in which an image is turned, zoomed,
recoloured and so on more and more from frame to frame; "seq", the same with the alignment to the
exemplar of the class and smoothness; and that without either term. Every one is a linear layer on
frozen features.
"""

from experiments.seq_images.job import main

if __name__ == "__main__":
    main(__doc__)
