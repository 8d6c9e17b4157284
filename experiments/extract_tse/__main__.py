r"""Embeddings of videos: windows slide over each, a frozen encoder embeds every one of them.

A list of videos (python -m experiments.make_list makes it) becomes a folder that training reads:

  python -m experiments.extract_tse --videos=videos.csv --out_dir=tse --encoder=mobilenet_v2
  python -m experiments.k400 --data_dir=tse

The windows of the DejaVid paper, for Kinetics-400 and HMDB51 (33 rows a video) and for
Something-Something V2 (a row a frame):

  python -m experiments.extract_tse ... --window=L/5 --stride=L/40
  python -m experiments.extract_tse ... --windows=16,32,64,L --stride=1

Features of every frame, or of snippets, for experiments.seq_anomaly: --window=1 --stride=1, or
--window=16 --stride=16.

The same command goes on after a kill: videos that are done are not decoded again, and the result
has the same bytes. Videos that cannot be used are listed in failed.csv with the reason. On several
machines: --shard=0/8 to --shard=7/8, in one folder. --verify compares every file with its checksum.
"""

if __name__ == "__main__":
    # Here, since the processes that decode import this file too, and need nothing of it.
    from experiments.extract_tse.job import main

    main(__doc__)
