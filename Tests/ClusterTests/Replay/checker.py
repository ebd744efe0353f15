"""Whether a history of operations on one register could have happened one after the other, each at some moment between
its call and its return: the algorithm of Wing and Gong, remembering positions already tried (Lowe).

An operation is (call time, return time or None, kind, argument, result). Kinds: "write" (argument: the value), "read"
(result: the value), "swap" (argument: (old, new); result: True or False). A return time of None means that nobody knows
whether it happened: it may have, at any time after its call, or never.
"""


def step(value, kind, argument, result, known):
    """(fits, new value) of taking the operation when the register holds `value`."""
    if kind == "write":
        return True, argument
    if kind == "read":
        return value == result, value
    old, new = argument
    if known and result != (value == old):
        return False, value
    return True, new if value == old else value


def check(operations, initial=None):
    """None when an order exists, else (value, operations): what was there, and what was open, where every order failed.

    What nobody knows about stays open to the end, and doubles the work. But most of it left no trace, and may as well
    never have happened: an order without it is an order. Only when there is none it is tried in, what was called last
    before the place of failure first, until all of it is.
    """
    # A read that nobody saw says nothing.
    operations = [o for o in operations if not (o[1] is None and o[2] == "read")]
    seen = {o[4] for o in operations if o[2] == "read"} | {o[3][0] for o in operations if o[2] == "swap" and (o[4] or o[1] is None)}
    traceless = [o for o in operations if o[1] is None and (o[3] if o[2] == "write" else o[3][1]) not in seen]
    kept = [o for o in operations if o not in traceless] if traceless else operations
    traceless.sort(key=lambda o: o[0])
    while True:
        problem = search(kept, initial)
        if problem is None:
            return None
        *stuck, moment = problem
        before = [o for o in traceless if o[0] <= moment]
        if not before:
            return tuple(stuck)
        for operation in before[-2:]:
            traceless.remove(operation)
            kept = kept + [operation]


def search(operations, initial):
    """None when an order exists, else value, operations and moment of the farthest place where every order failed."""
    moments = []
    for index, (call, end, *_) in enumerate(operations):
        moments.append((call, 0, index))
        if end is not None:
            moments.append((end, 1, index))
    moments.sort()
    # A linked list of calls and returns; node 0 is its head, the last one its end.
    count = len(moments)
    following, previous = list(range(1, count + 2)) + [None], [None] + list(range(0, count + 1))
    return_of = {}
    for place, (_, is_return, index) in enumerate(moments, 1):
        if is_return:
            return_of[index] = place

    def unlink(node):
        following[previous[node]], previous[following[node]] = following[node], previous[node]

    def relink(node):
        following[previous[node]] = previous[following[node]] = node

    value, done, unreturned = initial, 0, len(return_of)
    tried, taken = set(), []
    farthest, stuck = -1, None
    at, end = following[0], count + 1
    while unreturned:
        is_return = 1 if at == end else moments[at - 1][1]
        if not is_return:
            index = moments[at - 1][2]
            _, finish, kind, argument, result = operations[index]
            fits, after = step(value, kind, argument, result, finish is not None)
            position = (done | 1 << index, after)
            if fits and position not in tried:
                tried.add(position)
                taken.append((at, value))
                value, done = after, position[0]
                unlink(at)
                if index in return_of:
                    unlink(return_of[index])
                    unreturned -= 1
                at = following[0]
            else:
                at = following[at]
            continue
        # Somebody must have happened before this return and nobody fits: go back.
        if at != end and at > farthest:
            farthest = at
            moment = moments[at - 1][0]
            stuck = [o for i, o in enumerate(operations) if o[0] <= moment and not done >> i & 1 and (o[1] is None or o[1] >= moment)]
            stuck = (value, stuck, moment)
        if not taken:
            return stuck
        at, value = taken.pop()
        index = moments[at - 1][2]
        done &= ~(1 << index)
        if index in return_of:
            relink(return_of[index])
            unreturned += 1
        relink(at)
        at = following[at]
    return None


def _self_test():
    """The checker finds what is wrong, and only that: run before it is trusted."""
    ok = [
        [(0, 1, "write", 1, None), (2, 3, "read", None, 1)],
        [(0, 5, "write", 1, None), (1, 2, "read", None, None), (3, 4, "read", None, 1)],
        [(0, None, "write", 1, None), (5, 6, "read", None, None), (7, 8, "read", None, 1)],
        [(0, 1, "write", 1, None), (2, None, "swap", (1, 2), None), (9, 10, "read", None, 1)],
        [(0, 1, "write", 1, None), (2, 6, "swap", (1, 2), True), (3, 5, "swap", (1, 3), False), (7, 8, "read", None, 2)],
        [(0, None, "write", 1, None), (1, None, "write", 2, None), (5, 6, "read", None, 2), (7, 8, "read", None, 1)],
        # A write that only a swap noticed, which failed because of it.
        [(0, 1, "write", 1, None), (2, None, "write", 2, None), (3, 4, "swap", (1, 3), False), (5, 6, "write", 4, None)],
        # Very many that nobody noticed.
        [(n, None, "write", 100 + n, None) for n in range(60)]
        + [(n + 0.1, n + 0.9, "write", n, None) for n in range(60)] + [(60, 61, "read", None, 59)],
    ]
    bad = [
        [(0, 1, "write", 1, None), (2, 3, "read", None, None)],
        [(0, 5, "write", 1, None), (1, 2, "read", None, 1), (3, 4, "read", None, None)],
        [(0, 1, "write", 1, None), (2, 3, "swap", (1, 2), True), (4, 5, "read", None, 1)],
        [(0, 1, "write", 1, None), (2, 6, "swap", (1, 2), True), (3, 5, "swap", (1, 3), True)],
        [(0, None, "write", 1, None), (5, 6, "read", None, 1), (7, 8, "read", None, None)],
        [(3, None, "write", 1, None), (0, 2, "read", None, 1)],
        [(0, 1, "write", 1, None), (5, None, "write", 2, None), (3, 4, "swap", (1, 3), False), (6, 7, "write", 4, None)],
        [(0, 1, "write", 1, None), (2, None, "write", 2, None), (3, 4, "swap", (1, 3), False), (5, 6, "read", None, 3)],
    ]
    for history in ok:
        assert check(history) is None, history
    for history in bad:
        assert check(history) is not None, history


_self_test()
