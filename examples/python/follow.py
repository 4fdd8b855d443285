#!/usr/bin/env python3
"""Follows killfeed's stream of EVE Online killmails from Python. It loses no killmail when either side restarts.

    pip install -r examples/python/requirements.txt
    python examples/python/follow.py --filter 'value>=1b space:lowsec'

Prints one line per killmail. A small file (--state) stores the position after each handled killmail, so the next run
continues there. `follow` contains the logic for resuming; replace `handle` with your own code.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

PROTO = Path(__file__).resolve().parents[2] / "proto"


def contract():
    """Generates the client from proto/ into a temporary folder. Your own project would do this once, at build time."""
    from grpc_tools import protoc

    out = tempfile.mkdtemp(prefix="killfeed-proto-")
    well_known = Path(protoc.__file__).parent / "_proto"
    files = ["killmail", "killmail_service"]
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(arguments + [f"killfeed/v1/{name}.proto" for name in files]) != 0:
        sys.exit(f"the proto files in {PROTO} do not compile")
    sys.path.insert(0, out)
    from killfeed.v1 import killmail_service_pb2, killmail_service_pb2_grpc

    return killmail_service_pb2, killmail_service_pb2_grpc


class State:
    """The saved state: a cursor, the server's time at that cursor, and the ids of the last handled killmails."""

    KEPT = 20_000  # More than a normal day of killmails.

    def __init__(self, path):
        self.path = Path(path)
        self.cursor, self.time, self.handled = "", 0.0, {}
        if self.path.exists():
            saved = json.loads(self.path.read_text())
            self.cursor, self.time = saved["cursor"], saved["time"]
            self.handled = {tuple(key): None for key in saved["handled"]}

    def remember(self, killmail):
        """Records that a killmail was handled."""
        self.handled[(killmail.killmail_id, killmail.revision)] = None
        while len(self.handled) > self.KEPT:
            del self.handled[next(iter(self.handled))]

    def save(self):
        """Replaces the file in one step, so that a crash leaves the old state or the new one."""
        text = json.dumps({"cursor": self.cursor, "time": self.time, "handled": list(self.handled)})
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)


def handle(killmail):
    """Handles a killmail. Its `entities` contain the names of its ids. Replace this with your own code."""
    # An id is unique only within its kind. pb_name returns the kind as proto/killfeed/v1/killmail.proto spells it.
    names = {(pb_name(entity, "kind"), entity.id): entity.name for entity in killmail.entities}
    victim = killmail.victim
    corporation = names.get(("ENTITY_KIND_CORPORATION", victim.corporation_id), "unknown")
    who = names.get(("ENTITY_KIND_CHARACTER", victim.character_id), corporation)
    ship = names.get(("ENTITY_KIND_TYPE", victim.ship_type_id), f"type {victim.ship_type_id}")
    value = f"{killmail.value.total / 1e6:,.1f}m ISK" if killmail.value.HasField("total") else "value unknown"
    when = killmail.kill_time.ToDatetime().strftime("%H:%M:%S")
    print(f"{when}  {ship} of {who} in {killmail.location.system_name}, {value}, {len(killmail.attackers)} attackers"
          f"  https://zkillboard.com/kill/{killmail.killmail_id}/", flush=True)


def details(error, kind):
    """Returns the status detail of one kind, or None."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        if detail.Is(kind.DESCRIPTOR):
            message = kind()
            detail.Unpack(message)
            return message
    return None


def follow(arguments, pb, stub, state):
    """Handles events one by one, and retries after errors. The cursor survives each attempt."""
    metadata = [("authorization", f"Bearer {arguments.token}")] if arguments.token else []
    failures, seen, since = 0, 0, None
    on_expired = pb.ON_EXPIRED_FAIL
    while True:
        request = pb.StreamKillmailsRequest(filter=arguments.filter, on_expired=on_expired, client_name="example-python")
        if since is not None:
            request.since.FromNanoseconds(int(since * 1e9))
        elif state.cursor:
            request.after_cursor = state.cursor
        else:
            request.position = pb.POSITION_EARLIEST if arguments.earliest else pb.POSITION_LATEST
        try:
            for event in stub.StreamKillmails(request, metadata=metadata):
                failures, since, on_expired = 0, None, pb.ON_EXPIRED_FAIL
                kind = event.WhichOneof("event")
                if kind == "killmail":
                    killmail = event.killmail
                    if (killmail.killmail_id, killmail.revision) not in state.handled:
                        handle(killmail)
                        seen += 1
                    state.remember(killmail)
                    state.time = killmail.ingested_time.ToNanoseconds() / 1e9
                elif kind == "gap":
                    reason = pb_name(event.gap, "reason")
                    print(f"note: killmails may be missing here: {reason}, number of killmails: {event.gap.missing or 'unknown'}", file=sys.stderr)
                # During a long scan, a Progress has the position of the scan, and its time does not belong to that position.
                elif kind == "progress" and event.progress.caught_up:
                    state.time = event.progress.server_time.ToNanoseconds() / 1e9
                # Save the cursor only after handling the event. A killmail that was not handled arrives again.
                state.cursor = event.cursor
                state.save()
                if arguments.count and seen >= arguments.count:
                    return
        except grpc.RpcError as error:
            code = error.code()
            if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                sys.exit(f"{code.name}: {error.details()}")
            if code == grpc.StatusCode.OUT_OF_RANGE:
                print("note: the cursor is older than the log; continuing at the start of the log", file=sys.stderr)
                on_expired = pb.ON_EXPIRED_CONTINUE
                continue
            if code == grpc.StatusCode.FAILED_PRECONDITION:
                print("note: the log has changed; continuing ten minutes before the last event", file=sys.stderr)
                since, on_expired = state.time - 600, pb.ON_EXPIRED_CONTINUE
            failures += 1
            wait = random.uniform(0, min(60, 0.5 * 2 ** min(failures, 10)))
            retry = details(error, error_details_pb2.RetryInfo)
            if retry:
                wait += retry.retry_delay.ToNanoseconds() / 1e9
            print(f"note: {code.name}: {error.details()}; retrying in {wait:.1f} s", file=sys.stderr)
            time.sleep(wait)


def pb_name(message, field):
    """Returns the name of an enum field's value."""
    descriptor = message.DESCRIPTOR.fields_by_name[field].enum_type
    return descriptor.values_by_number[getattr(message, field)].name


def main():
    parser = argparse.ArgumentParser(description="Prints new EVE Online killmails.")
    parser.add_argument("--target", default="127.0.0.1:50051", help="the ingestor's gRPC address (default: %(default)s)")
    parser.add_argument("--filter", default="", help="filter language; empty = everything")
    parser.add_argument("--token", default=os.environ.get("KILLFEED_TOKEN", ""), help="bearer token, if the ingestor requires one")
    parser.add_argument("--ca", help="PEM file of the CA that signed the ingestor's certificate; turns TLS on")
    parser.add_argument("--state", default="killfeed-state.json", help="file for the cursor (default: %(default)s)")
    parser.add_argument("--earliest", action="store_true", help="without a cursor: start at the oldest killmail in the log")
    parser.add_argument("--count", type=int, default=0, help="stop after this many killmails; 0 = never")
    arguments = parser.parse_args()

    pb, services = contract()
    options = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000), ("grpc.max_receive_message_length", 16 << 20)]
    if arguments.ca:
        credentials = grpc.ssl_channel_credentials(Path(arguments.ca).read_bytes())
        channel = grpc.secure_channel(arguments.target, credentials, options)
    else:
        channel = grpc.insecure_channel(arguments.target, options)
    with channel:
        follow(arguments, pb, services.KillmailServiceStub(channel), State(arguments.state))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
