"""Shortest paths through many matrices of few rows: one lane for each, its states in registers.

A lane walks the frames with the R of all Tc centroid steps at hand, writes the choices of a frame
as bits of one integer, and reads them back from the last frame to the first.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels.gpu import launch

MAX_STEPS = 16  # two bits each in an int32
_LANES = 128


class Paths(NamedTuple):
    """The frames that a path spends in each centroid step; they are consecutive.

    Attributes:
        first: ``[Tc, L]``, L = C * A lanes, class by class.
        last: ``[Tc, L]``, inclusive; less than `first` for steps past the end.
    """

    first: Array
    last: Array


def forward(
    cost: Array,
    ends: tuple[Array, Array],
    *,
    num_samples: int,
    num_steps: int,
    num_frames: int,
    diagonal: bool,
    interpret: bool,
) -> tuple[Array, Paths]:
    """Shortest path costs ``[L]`` and the paths.

    Args:
        cost: as `weighted_cost.forward` returns it.
        ends: last step and last frame of each lane, int32 ``[L]``.
        num_samples: A.
        num_steps: Tc, at most `MAX_STEPS`.
        num_frames: T.
        diagonal: whether the step (1, 1) is allowed.
        interpret: see `launch.call`.

    Returns:
        Values and paths. Ties as `tempalign.weighted_dtw` says.
    """
    lanes = ends[0].shape[0]
    padded = -(-lanes // _LANES) * _LANES
    padded_ends = [jnp.pad(end, (0, padded - lanes)) for end in ends]
    value, first, last, _ = launch.call(
        partial(
            _kernel,
            stride=cost.shape[1],
            num_samples=num_samples,
            num_steps=num_steps,
            num_frames=num_frames,
            num_lanes=lanes,
            diagonal=diagonal,
        ),
        cost.reshape(-1),
        *padded_ends,
        grid=(padded // _LANES,),
        out_shape=[
            jax.ShapeDtypeStruct((padded,), jnp.float32),
            jax.ShapeDtypeStruct((num_steps, padded), jnp.int32),
            jax.ShapeDtypeStruct((num_steps, padded), jnp.int32),
            jax.ShapeDtypeStruct((num_frames, padded), jnp.int32),  # the choices
        ],
        name="short_path",
        interpret=interpret,
    )
    return value[:lanes], Paths(first[:, :lanes], last[:, :lanes])


def _kernel(
    cost_ref,
    last_step_ref,
    last_frame_ref,
    value_ref,
    first_ref,
    last_ref,
    choice_ref,
    *,
    stride,
    num_samples,
    num_steps,
    num_frames,
    num_lanes,
    diagonal,
):
    start = launch.program(0) * _LANES
    here = launch.block(start, _LANES)
    # The lanes past the last one do its work again, and nobody reads it.
    lane = jnp.minimum(start + jnp.arange(_LANES), num_lanes - 1)
    origin = (lane // num_samples) * (num_steps * stride) + lane % num_samples
    last_step, last_frame = last_step_ref[here], last_frame_ref[here]
    steps = range(num_steps)

    def costs(frame):
        return [cost_ref[origin + (step * stride + frame * num_samples)] for step in steps]

    def ending(frame, reached, value):
        """R of the lanes that end at this frame."""
        for step in steps:
            value = jnp.where((frame == last_frame) & (step == last_step), reached[step], value)
        return value

    def first_frame():
        reached: list[Array] = []
        total = jnp.zeros(_LANES, jnp.float32)
        for cost in costs(0):
            total = total + cost
            reached.append(total)
        return tuple(reached)

    def go(frame, state):
        before, value = state
        cost, choice = costs(frame), jnp.zeros(_LANES, jnp.int32)
        reached: list[Array] = []
        for step in steps:
            best = before[step]
            if step:
                if diagonal:
                    both = before[step - 1]
                    choice |= jnp.where(best < both, 0, 1 << (MAX_STEPS + step - 1))
                    best = jnp.minimum(best, both)
                below = reached[step - 1]
                choice |= jnp.where(below < best, 1 << (step - 1), 0)
                best = jnp.minimum(best, below)
            reached.append(cost[step] + best)
        choice_ref[frame, here] = choice
        return tuple(reached), ending(frame, reached, value)

    reached = first_frame()
    value = ending(0, reached, jnp.zeros(_LANES, jnp.float32))
    _, value = lax.fori_loop(1, num_frames, go, (reached, value))
    value_ref[here] = value

    def back(turn, state):
        at, first, last = state
        frame = num_frames - 1 - turn
        active = frame <= last_frame
        choice = jnp.where(frame == 0, -1, choice_ref[frame, here])  # at frame 0, all the way down
        at, first, last = down(at, first, last, frame, active, choice, 0, frame)
        if diagonal:
            taken = active & (frame > 0)
            at, first, last = down(at, first, last, frame, taken, choice, MAX_STEPS, frame - 1)
        return at, first, last

    def down(at, first, last, frame, active, choice, shift, arrives):
        """Follows the choices to lower steps: along the frame, or by one diagonal move."""
        first, last, after = list(first), list(last), at
        for step in reversed(steps[1:]):
            chosen = (choice >> (shift + step - 1)) & 1 == 1
            moves = active & (at == step) & chosen
            first[step] = jnp.where(moves, frame, first[step])
            last[step - 1] = jnp.where(moves, arrives, last[step - 1])
            after = jnp.where(moves, step - 1, after)
            if not shift:
                at = after
        return after, tuple(first), tuple(last)

    nowhere = jnp.zeros(_LANES, jnp.int32)
    first = tuple(nowhere for _ in steps)
    last = tuple(jnp.where(step == last_step, last_frame, -1) for step in steps)
    _, first, last = lax.fori_loop(0, num_frames, back, (last_step, first, last))
    for step in steps:
        first_ref[step, here] = first[step]
        last_ref[step, here] = last[step]
