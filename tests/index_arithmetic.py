"""Whether the index arithmetic of XLA's programs for GPUs fits its 32 bits.

XLA rewrites where a fused program reads into one division of one large number. That number is not
always one that an int32 holds (seen in jax 0.11.2 and 0.10.2); then other elements are read, and
nothing says so. Here the ranges of all numbers in the LLVM IR that XLA writes (`--xla_dump_to`,
files `*no-opt.ll`) are followed from the numbers of blocks and threads on.
"""

import re

Range = tuple[int, int]

_LARGEST = 2**32 - 1
_INTEGER = re.compile(r"(?: nuw| nsw| disjoint| exact)* i(?:32|64) (\S+?), (\S+?)(?:,| |$)")


def overflows(llvm: str) -> list[str]:
    """Divisions of numbers that 32 bits may not hold: "function: instruction"."""
    stated = {
        name: (int(least), int(end) - 1)
        for name, least, end in re.findall(r"^(!\d+) = !\{i32 (-?\d+), i32 (-?\d+)\}", llvm, re.M)
    }
    found, function = [], ""
    ranges: dict[str, Range] = {}
    for line in llvm.splitlines():
        if head := re.match(r"define .*@(\w+)\(", line):
            function, ranges = head[1], {}
        instruction = re.match(r"\s*(%\S+) = (?:tail )?(\w+)(.*)$", line)
        if instruction is None:
            continue
        name, operation, rest = instruction.groups()
        if operation in ("udiv", "urem") and (pair := _INTEGER.match(rest)):
            divided = _range(pair[1], ranges)
            if divided is not None and divided[1] > _LARGEST:
                found.append(f"{function}: {line.strip()}")
        known = _of(operation, rest, ranges, stated)
        if known is not None:
            ranges[name] = known
    return found


def _range(operand: str, ranges: dict[str, Range]) -> Range | None:
    if re.fullmatch(r"-?\d+", operand):
        return int(operand), int(operand)
    return ranges.get(operand)


def _of(
    operation: str, rest: str, ranges: dict[str, Range], stated: dict[str, Range]
) -> Range | None:
    """The range of an instruction's result, None where it is not known."""
    if operation == "call":  # the number of a block or a thread
        which = re.search(r"!range (!\d+)", rest)
        return None if which is None else stated.get(which[1])
    if operation in ("zext", "sext"):
        source = re.match(r"(?: nneg)? i\d+ (\S+) to", rest)
        return None if source is None else _range(source[1], ranges)
    if operation == "phi":
        ways = [_range(way, ranges) for way in re.findall(r"\[ ([^,]+),", rest)]
        known = [way for way in ways if way is not None]
        if len(known) < len(ways) or not known:
            return None
        return min(way[0] for way in known), max(way[1] for way in known)
    pair = _INTEGER.match(rest)
    if pair is None:
        return None
    a, b = (_range(operand, ranges) for operand in pair.groups())
    if operation == "urem" and b is not None:
        return a if a is not None and 0 <= a[0] and a[1] < b[0] else (0, b[1] - 1)
    if a is None or b is None:
        return None
    corners = [(x, y) for x in a for y in b]
    if operation == "add":
        return a[0] + b[0], a[1] + b[1]
    if operation == "sub":
        return a[0] - b[1], a[1] - b[0]
    if operation == "mul":
        return min(x * y for x, y in corners), max(x * y for x, y in corners)
    if operation == "udiv" and a[0] >= 0 < b[0]:
        return a[0] // b[1], a[1] // b[0]
    if operation == "shl":
        return a[0] << b[0], a[1] << b[1]
    if operation == "lshr" and a[0] >= 0:
        return a[0] >> b[1], a[1] >> b[0]
    return None
