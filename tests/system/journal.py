"""What a client may expect of a server that is killed: each acknowledged write, and for each unanswered one either outcome."""

import threading


# What a key has before its first write, by the key's kind.
INITIAL = {"capacity": 0, "alive": False, "tag": None, "target": False, "power": "running"}


class Journal:
    """Key (kind, name) → the values it may have. One caller at a time per key."""

    def __init__(self):
        self.may_be = {}
        self.lock = threading.Lock()
        self.acknowledged = 0

    def write(self, key, value, call):
        """Makes the call that sets `key` to `value`; gives its answer, or None if it got none."""
        with self.lock:
            self.may_be.setdefault(key, {INITIAL[key[0]]}).add(value)
        try:
            answer = call()
        except Exception as error:
            if is_refusal(error):
                raise
            return None
        with self.lock:
            self.may_be[key] = {value}
            self.acknowledged += 1
        return answer if answer is not None else {}

    def forget(self, key):
        with self.lock:
            self.may_be.pop(key, None)

    def check(self, kind, found, where):
        """`found`: key's second part → value, for every key of this kind."""
        with self.lock:
            expected = {key[1]: values for key, values in self.may_be.items() if key[0] == kind}
        wrong = {k: (found.get(k), v) for k, v in expected.items() if found.get(k) not in v}
        assert not wrong, f"{kind}: found and expected differ {where}: {wrong}"


def is_refusal(error):
    """The server answered, and the answer was no: nothing was written."""
    # Errors of the connection have the attribute, too, and nothing in it.
    answer = getattr(error, "response", None) or {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return 400 <= status < 500
