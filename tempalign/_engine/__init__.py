"""What carries a call: from a caller's arrays and options to values, alignments and derivatives.

A public function turns what it is given into a :class:`problem.Problem` and asks for a value or
for marginals; that is all it knows of this room. The trip through it, a file a station::

    options     what every distance accepts, told once           (PathOptions)
    checks      one wording for what is refused
    model       THE static description: moves, openings, window  (Model)
    problem     arrays checked, promoted and grouped by pairs    (Operands, Pairs)
    backends    who serves the call, and why not the others      (choose, explain)
    evaluate    block by block: costs, windows, lanes; long does it by blocks of rows
    derivative  the one rule that joins values and marginals     (value, marginals of Lanes)
    recurrence  one scan over anti-diagonals; hard and soft (soft_minimum) are its two algebras
    served      hard distances on native code (gathered: their plain form), soft_served soft ones
                (soft_plain: theirs); handed is what both hand over
    along_path  DejaVid's distance: sums along the paths of a hard model; who finds those:
                weighted_backends
    rule        a derivative that is made of what was kept with the value: served, weighted

Small and below all of these: pairs, costs, windows, integers, shards, platforms. Who may import
whom is a test's (tests/test_house.py).
"""
