"""
What schemathesis checks of a Postern server beyond its own checks. schemathesis itself loads this
file; `schemathesis_server.py` sets the variables.
"""

import collections
import itertools
import json
import os
import pathlib

import schemathesis

# Of the certificate with which this run asks.
ROLE = os.environ["POSTERN_ROLE"]
# Where backups may be written.
BACKUPS = pathlib.Path(os.environ["POSTERN_BACKUPS"])
# Where this run says what it has seen.
SEEN = pathlib.Path(os.environ["POSTERN_SEEN"])

STATUS = {
    "bad_request": {400, 405},
    "forbidden": {403},
    "foreign": {403},
    "not_found": {404},
    "fork": {409},
    "out_of_sequence": {409},
    "denied": {409},
    "too_large": {413},
    "not_active": {421},
    "unavailable": {503},
}
# Health, of which 503 is an answer.
HEALTH = {"isReady", "isActive", "isStandby"}
# The server that is asked is the active one.
NEVER_YES = {"isStandby"}
# Random bytes are no packed message, and a random signature is none of the site's; the server's own
# tests send real ones.
NEVER_RIGHT = {
    "offerRole",
    "readLog",
    "compareHeads",
    "mergeStore",
    "listKnown",
    "copyStore",
    "pauseStore",
    "handOver",
    # Nor are there voters without a witness.
    "voterMessage",
    "voterOrder",
    "voterPresence",
    "voterSight",
}

numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, **kwargs):
    """A backup goes where the operator says: here to no other place than ours."""
    if isinstance(case.body, dict) and str(case.body.get("out", "")).startswith("/"):
        case.body["out"] = str(BACKUPS / f"{ROLE}-{next(numbers)}.sqlite")


def operation_id(case):
    """The operation's name in the document."""
    return case.operation.definition.raw["operationId"]


def may(case):
    """Whether the document lets this run's certificate call the operation."""
    wanted = case.operation.definition.raw["security"]
    return any(ROLE in requirement["certificate"] for requirement in wanted)


@schemathesis.check
def refused_with_a_code(ctx, response, case):
    """Every refusal is a closed code that belongs to its status, with words."""
    if response.status_code < 400 or response.request.method == "HEAD":
        return
    refusal = response.json()
    if response.status_code == 503 and operation_id(case) in HEALTH:
        assert refusal["why"], "health that is bad says why"
        return
    status, code = response.status_code, refusal["code"]
    assert status in STATUS[code], f"{status} {code}"
    assert refusal["message"], "a refusal says why"


@schemathesis.check
def certificates_are_good_for_their_own_purpose(ctx, response, case):
    """What the document gives to other roles is refused, before the body is looked at."""
    if may(case) or response.status_code == 405:
        return
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    # A path that cannot be read is refused before anyone is asked for.
    allowed = {403} if positive else {400, 403, 404}
    assert response.status_code in allowed, f"{ROLE} got {response.status_code}"


@schemathesis.check
class EveryOperationIsReached:
    """Each operation that the role may call has answered with a success."""

    def __init__(self):
        self.asked = set()
        self.reached = set()
        self.statuses = collections.Counter()

    def after_response(self, ctx, response, case):
        """Notes what was answered."""
        name = operation_id(case)
        self.statuses[response.status_code] += 1
        if may(case):
            self.asked.add(name)
        if response.status_code < 300:
            self.reached.add(name)

    def after_run(self, ctx):
        """Says what was seen, and what was never."""
        seen = {"statuses": self.statuses, "reached": sorted(self.reached)}
        SEEN.write_text(json.dumps(seen), encoding="utf-8")
        never = self.asked - self.reached - NEVER_RIGHT - NEVER_YES
        assert not never, f"never answered with a success: {sorted(never)}"
