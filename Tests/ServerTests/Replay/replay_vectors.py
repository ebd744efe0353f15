"""Replays recorded requests against a fresh server per scenario and compares every answer, masks aside.

    replay_vectors.py --server "COMMAND" --vectors DIR --protos DIR [--deviations FILE] [--only SCENARIO[/STEP]]...

COMMAND is a server that takes etcd's flags (etcd itself, or `covey server`). Prints a line per failed step and a closing
line "N passed, N failed, N skipped".
"""

import argparse
import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import queue
import re
import socket
import sys
import tempfile
import threading
import time

import grpc
from google.protobuf import json_format

from peers import ALWAYS_MASKED, UNLIMITED, Server, compile_protos, free_port, masked


# Fields of later releases, which 3.5 clients skip.
NEWER_FIELDS = ["dbSizeQuota", "downgradeInfo", "storageVersion", "hash_revision"]


class Replay:
    def __init__(self, methods, deviations):
        self.methods = methods
        self.deviations = deviations
        self.lines = []
        self.passed, self.failed, self.skipped = 0, 0, 0

    # -- reporting

    def ok(self):
        self.passed += 1

    def fail(self, where, message):
        self.failed += 1
        self.lines.append("FAIL %s: %s" % (where, message))

    # -- gRPC

    def decode(self, method, data):
        message = self.methods[method][1]()
        message.ParseFromString(data)
        return json_format.MessageToDict(message, preserving_proto_field_name=True)

    def same(self, method, got, wanted, masks):
        masks = masks + NEWER_FIELDS
        a, b = masked(self.decode(method, got), masks), masked(self.decode(method, wanted), masks)
        if "members.ID" in masks:  # listed by id, which differs
            for m in (a, b):
                m["members"] = sorted(m.get("members", []), key=json.dumps)
        return None if a == b else "got %s, wanted %s" % (json.dumps(a)[:1500], json.dumps(b)[:1500])

    def note_bytes(self, note):
        """Builds a request that the recording describes in words because it is large."""
        m = re.match(r'PutRequest key "(\w+)" value (\d+) bytes 0x78', note)
        if m:
            request = self.methods["/etcdserverpb.KV/Put"][0]()
            request.key, request.value = m[1].encode(), b"x" * int(m[2])
            return request.SerializeToString()
        request = self.methods["/etcdserverpb.KV/Txn"][0]()
        if "129 puts" in note:
            for i in range(129):
                request.success.add().request_put.key = b"k%d" % i
        elif "128 puts" in note:
            for i in range(128):
                request.success.add().request_put.key = b"m%03d" % i
        elif "129 compares" in note:
            for i in range(129):
                c = request.compare.add()
                c.key, c.version = b"a", 0
        else:
            raise ValueError("cannot build a request from: " + note)
        return request.SerializeToString()

    def request_bytes(self, step):
        if "request_hex" in step:
            data = bytes.fromhex(step["request_hex"])
        elif "request_note" in step:
            data = self.note_bytes(step["request_note"])
            assert len(data) == step.get("request_len", len(data)), step["request_note"]
        elif step.get("request"):
            data = json_format.ParseDict(step["request"], self.methods[step["method"]][0]()).SerializeToString()
        else:
            data = b""
        own = [m[8:] for m in step.get("mask") or [] if m.startswith("request.")]
        if own:
            message = self.methods[step["method"]][0]()
            message.ParseFromString(data)
            for field in own:
                self.substitute(message, field, step)
            data = message.SerializeToString()
        return data

    def learn_ids(self, step, got):
        """Ids and URLs of this run for those of the recording, from two answers to the same request."""
        if "response_hex" not in step:
            return
        recorded, own = self.methods[step["method"]][1](), self.methods[step["method"]][1]()
        recorded.ParseFromString(bytes.fromhex(step["response_hex"]))
        own.ParseFromString(got)
        fields = recorded.DESCRIPTOR.fields_by_name
        if "header" in fields and recorded.HasField("header"):
            self.own_ids[recorded.header.member_id] = own.header.member_id
        if step["name"] == "list":
            self.own_urls.update(zip(recorded.members[0].peerURLs, own.members[0].peerURLs))
        if "member" in fields and recorded.HasField("member"):
            self.own_ids[recorded.member.ID] = own.member.ID

    def substitute(self, message, field, step):
        """Own values for what a recording could not know: ids and URLs of this run."""
        if field == "memberID":
            message.memberID = self.member_id()
        elif field == "revision":
            message.revision = self.revision()
        elif field in ("ID", "targetID"):
            setattr(message, field, self.own_ids.get(getattr(message, field), getattr(message, field)))
        elif field == "peerURLs":
            urls = [self.own_urls.setdefault(u, "http://127.0.0.1:%d" % free_port()) for u in message.peerURLs]
            del message.peerURLs[:]
            message.peerURLs.extend(urls)
        else:
            raise ValueError("no substitute for request." + field)

    def call(self, method, data=b""):
        return self.channel.unary_unary(method)(data, timeout=10)

    def member_id(self):
        status = self.methods["/etcdserverpb.Maintenance/Status"][1]()
        status.ParseFromString(self.call("/etcdserverpb.Maintenance/Status"))
        return status.header.member_id

    def revision(self):
        status = self.methods["/etcdserverpb.Maintenance/Status"][1]()
        status.ParseFromString(self.call("/etcdserverpb.Maintenance/Status"))
        return status.header.revision

    def metadata(self, step):
        result = []
        for k, v in step.get("metadata") or []:
            user = "root" if "root" in step["name"] and "root" in self.tokens else "u1"
            token = self.tokens.get(user) or self.tokens.get("last") or ""
            result.append((k, v.replace("<token>", self.token_for(step))))
        return result

    def token_for(self, step):
        name = step["name"]
        for user in ("root", "u1"):
            if name.startswith(user + "-") or ("-" + user) in name:
                if user in self.tokens:
                    return self.tokens[user]
        return self.tokens.get("last", "")

    def learn_token(self, step, data):
        if step["method"] == "/etcdserverpb.Auth/Authenticate":
            request = self.methods[step["method"]][0]()
            request.ParseFromString(bytes.fromhex(step["request_hex"]))
            response = self.methods[step["method"]][1]()
            response.ParseFromString(data)
            self.tokens[request.name] = self.tokens["last"] = response.token

    def status_difference(self, step, wanted, error):
        code, message = (0, "") if error is None else (error.code().value[0], error.details())
        if wanted is None:
            wanted = {"code": 0, "message": ""}
        if code == wanted.get("or_code") and message == wanted["or_message"]:
            return None
        if code != wanted["code"]:
            return "status %d %r, wanted %d %r" % (code, message, wanted["code"], wanted["message"])
        if code == 0 or "status.message" in (step.get("mask") or []) or wanted["message"] == "Deadline Exceeded":
            return None
        return None if message == wanted["message"] else "message %r, wanted %r" % (message, wanted["message"])

    def unary(self, where, step):
        wanted = step.get("status")
        timeout = 3 if wanted and wanted["message"] == "Deadline Exceeded" else 20
        error, data = None, None
        try:
            data = self.channel.unary_unary(step["method"])(
                self.request_bytes(step), timeout=timeout, metadata=self.metadata(step))
        except grpc.RpcError as e:
            error = e
        deviation = self.deviations.get(where)
        if deviation and "status" in deviation:
            wanted = deviation["status"]
        difference = self.status_difference(step, wanted, error)
        if difference is None and data is not None:
            self.learn_token(step, data)
            self.learn_ids(step, data)
            answer = step.get("response_hex")
            if deviation and "response" in deviation:
                got = masked(self.decode(step["method"], data), ALWAYS_MASKED + (step.get("mask") or []))
                if got != deviation["response"]:
                    difference = "got %s, wanted (deviation) %s" % (json.dumps(got), json.dumps(deviation["response"]))
            elif answer is not None and not (deviation and "status" in deviation):
                difference = self.same(step["method"], data, bytes.fromhex(answer),
                                       ALWAYS_MASKED + (step.get("mask") or [])
                                       + (["header.revision"] if where.startswith("quota/") else []))
        self.fail(where, difference) if difference else self.ok()
        if timeout == 3:
            time.sleep(0.5)  # what the server does after a cancelled call, such as removing a candidate's key
        if where.startswith("cluster/"):
            time.sleep(0.35)  # the recording left as much between membership changes

    def server_stream(self, where, step):
        wanted = step.get("status")
        deviation = self.deviations.get(where)
        if deviation and "status" in deviation:
            wanted = deviation["status"]
        messages, error = [], None
        stream = self.channel.unary_stream(step["method"])(
            self.request_bytes(step), timeout=10, metadata=self.metadata(step))
        try:
            if "responses" in step:
                for wanted_message in step["responses"]:
                    messages.append(next(stream))
                    if len(messages) == 1 and where.endswith("/observe"):
                        self.call("/v3electionpb.Election/Proclaim", bytes.fromhex(self.observe_proclaim))
                stream.cancel()
            else:
                messages = list(stream)
        except grpc.RpcError as e:
            error = e
        difference = self.status_difference(step, wanted, error)
        if difference is None and "responses" in step:
            got = [masked(self.decode(step["method"], m), ALWAYS_MASKED) for m in messages]
            want = [masked(m, ALWAYS_MASKED) for m in step["responses"]]
            if got != want:
                difference = "got %s, wanted %s" % (json.dumps(got), json.dumps(want))
        if difference is None and "summary" in step and step["summary"].get("last_blob_is_sha256_of_previous"):
            difference = self.snapshot_difference(step["method"], messages)
        self.fail(where, difference) if difference else self.ok()

    def snapshot_difference(self, method, messages):
        parts = []
        for m in messages:
            message = self.methods[method][1]()
            message.ParseFromString(m)
            if message.HasField("header"):
                return "a snapshot message has a header"
            parts.append(message)
        if len(parts) < 2 or hashlib.sha256(b"".join(p.blob for p in parts[:-1])).digest() != parts[-1].blob:
            return "the last blob is not the digest of the others"
        left = sum(len(p.blob) for p in parts[:-1])
        for p in parts[:-1]:
            left -= len(p.blob)
            if p.remaining_bytes != left or len(p.blob) > 32768:
                return "remaining_bytes %d, wanted %d; blob of %d" % (p.remaining_bytes, left, len(p.blob))
        return None

    def stream(self, where, step):
        events = step["events"]
        deviation = self.deviations.get(where)
        if deviation and "events" in deviation:
            events = deviation["events"]
        difference = None
        sending, received = queue.Queue(), queue.Queue()
        start = 0
        while start < len(events) and "out_of_band" in events[start]:
            self.out_of_band(events[start])
            start += 1

        def requests():
            while True:
                item = sending.get()
                if item is None:
                    return
                yield item

        call = self.channel.stream_stream(step["method"])(requests(), metadata=self.metadata(step))

        def reader():
            try:
                for m in call:
                    received.put(("message", m))
                received.put(("end", None))
            except grpc.RpcError as e:
                received.put(("end", e))

        threading.Thread(target=reader, daemon=True).start()
        try:
            for number, event in enumerate(events[start:], start):
                difference = self.stream_event(step, event, sending, received)
                if difference:
                    difference = "event %d: %s" % (number, difference)
                    break
        finally:
            sending.put(None)
            call.cancel()
        self.fail(where, difference) if difference else self.ok()

    def out_of_band(self, event):
        for c in event["calls"]:
            data = bytes.fromhex(c["request_hex"]) if "request_hex" in c else self.note_bytes(c["request_note"])
            self.call(c["method"], data)

    def stream_event(self, step, event, sending, received):
        if "send_hex" in event:
            sending.put(bytes.fromhex(event["send_hex"]))
        elif "out_of_band" in event:
            self.out_of_band(event)
        elif "half_close" in event:
            sending.put(None)
        elif "no_message_within_seconds" in event:
            try:
                kind, data = received.get(timeout=event["no_message_within_seconds"])
                return "unexpected %s %s" % (kind, self.decode(step["method"], data) if data and kind == "message" else data)
            except queue.Empty:
                pass
        elif "stream_end" in event:
            kind, data = received.get(timeout=20)
            if kind != "end":
                return "a message where the stream should end: %s" % self.decode(step["method"], data)
            return self.status_difference(step, event["stream_end"], data)
        else:
            try:
                kind, data = received.get(timeout=10)
            except queue.Empty:
                return "no message, wanted %s" % json.dumps(event.get("recv") or event.get("recv_summary"))
            if kind == "end":
                return "the stream ended: %s" % data
            masks = ALWAYS_MASKED + (event.get("mask") or []) + (step.get("mask") or [])
            if "recv_hex" in event:
                return self.same(step["method"], data, bytes.fromhex(event["recv_hex"]), masks)
            if "recv_json" in event:
                got = masked(self.decode(step["method"], data), masks)
                return None if got == event["recv_json"] else "got %s, wanted %s" % (got, event["recv_json"])
            message = self.decode(step["method"], data)
            got = {"events": len(message.get("events", [])), "fragment": message.get("fragment", False),
                   "keys": [base64.b64decode(e["kv"]["key"]).decode() for e in message["events"]],
                   "watch_id": int(message.get("watch_id", 0))}
            return None if got == event["recv_summary"] else "got %s, wanted %s" % (got, event["recv_summary"])
        return None

    def note(self, where, step):
        if step["name"] != "fill":
            self.skipped += 1
            return
        request = self.methods["/etcdserverpb.KV/Put"][0]()
        request.value = b"x" * 65536
        for i in range(1000):
            request.key = b"k%d" % i
            try:
                self.call("/etcdserverpb.KV/Put", request.SerializeToString())
            except grpc.RpcError as e:
                difference = self.status_difference(step, step["last_status"], e)
                self.fail(where, difference) if difference else self.ok()
                return
        self.fail(where, "1000 puts of 64 KiB and no quota error")

    # -- HTTP

    def http(self, where, step, server):
        deviation = self.deviations.get(where) or {}
        request, wanted = step["request"], dict(step["response"])
        wanted.update(deviation.get("response", {}))
        masks = (step.get("mask") or []) + deviation.get("mask", []) + NEWER_FIELDS
        headers = {k: v.replace("<token>", self.tokens.get("http", "")) for k, v in request.get("headers", {}).items()}
        status, got_headers, body = self.exchange(server, request, headers)
        difference = None
        if status != wanted["status"]:
            difference = "status %s, wanted %s; body %r" % (status, wanted["status"], body[:500])
        elif status is not None:
            for name, value in (wanted.get("headers") or {}).items():
                if any(name == m or (m.endswith("*") and name.startswith(m[:-1])) for m in masks):
                    continue
                if name in ("Date", "Content-Length", "Transfer-Encoding"):
                    continue
                if got_headers.get(name.lower()) != value:
                    difference = "header %s is %r, wanted %r" % (name, got_headers.get(name.lower()), value)
            if difference is None and "body" not in masks:
                difference = self.body_difference(body, wanted.get("body") or "", masks, wanted.get("headers") or {})
            self.learn_http_token(body)
        self.fail(where, difference) if difference else self.ok()

    def learn_http_token(self, body):
        try:
            token = json.loads(body).get("token")
            if token:
                self.tokens["http"] = token
        except (ValueError, AttributeError):
            pass

    def exchange(self, server, request, headers):
        """Status, headers and everything received until the end or two silent seconds."""
        body = (request.get("body") or "").encode()
        s = socket.create_connection(("127.0.0.1", server.client), timeout=10)
        try:
            head = "%s %s HTTP/1.1\r\n" % (request["method"], request["path"])
            fields = {"Host": "127.0.0.1:%d" % server.client, "Content-Length": str(len(body))}
            fields.update(headers)
            head += "".join("%s: %s\r\n" % f for f in fields.items()) + "\r\n"
            s.sendall(head.encode() + body)
            s.settimeout(2)
            response = http.client.HTTPResponse(s, method=request["method"])
            try:
                response.begin()
            except (socket.timeout, TimeoutError):
                return None, {}, ""
            data = b""
            try:
                while True:
                    piece = response.read1(65536)
                    if not piece:
                        break
                    data += piece
            except (socket.timeout, TimeoutError):
                pass
            return response.status, {k.lower(): v for k, v in response.getheaders()}, data.decode(errors="replace")
        finally:
            s.close()

    def body_difference(self, got, wanted, masks, headers):
        if headers.get("Content-Type", "").startswith("text/plain"):
            return None if got == wanted else "body %r, wanted %r" % (got[:600], wanted[:600])

        def strip(node):
            if isinstance(node, list):
                return [strip(n) for n in node]
            if isinstance(node, dict):
                return {k: strip(v) for k, v in node.items() if k not in masks}
            return node

        def values(text):
            try:
                return [strip(json.loads(line)) for line in text.split("\n") if line.strip()]
            except ValueError:
                return [text]
        a, b = values(got), values(wanted)
        return None if a == b else "body %s, wanted %s" % (json.dumps(a)[:1200], json.dumps(b)[:1200])

    # -- a scenario

    def scenario(self, command, path, only):
        with open(path) as f:
            scenario = json.load(f)
        name = scenario["scenario"]
        steps = scenario["steps"]
        wanted = [s for o in only for n, _, s in [o.partition("/")] if n == name]
        if only and not wanted:
            return
        self.observe_proclaim = next((s["request_hex"] for s in steps if s["name"] == "proclaim-2"), "")
        self.tokens, self.own_ids, self.own_urls = {}, {}, {}
        server = Server(command, scenario["server_flags"])
        failed_before = self.failed
        try:
            self.channel = grpc.insecure_channel("127.0.0.1:%d" % server.client, options=UNLIMITED)
            time.sleep(0.5)
            for step in steps:
                where = "%s/%s" % (name, step["name"])
                deviation = self.deviations.get(where) or {}
                if "skip" in deviation or (where == "election-lock/proclaim-2" and self.observe_proclaim):
                    self.skipped += 1
                    continue
                if server.process.poll() is not None:
                    self.fail(where, "the server is gone (exit %s)" % server.process.returncode)
                    break
                try:
                    kind = step.get("kind")
                    if step["name"] == "range-after-expiry":
                        time.sleep(4.5)
                    if kind is None:
                        self.http(where, step, server)
                    else:
                        getattr(self, kind)(where, step)
                except Exception as e:  # a defect of one step must not hide the others
                    self.fail(where, "%s: %s" % (type(e).__name__, e))
                if wanted and step["name"] in wanted:
                    break
            self.channel.close()
        finally:
            server.stop()
            if self.failed > failed_before:
                self.lines.append("-- end of the server's log for %s:\n%s" % (name, server.text()))
            server.remove()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--server", required=True)
    p.add_argument("--vectors", required=True)
    p.add_argument("--protos", required=True)
    p.add_argument("--deviations")
    p.add_argument("--only", action="append", default=[])
    a = p.parse_args()
    deviations = {}
    if a.deviations:
        with open(a.deviations) as f:
            deviations = json.load(f)
    with tempfile.TemporaryDirectory() as out:
        methods = compile_protos(a.protos, out)

        def run(name):
            replay = Replay(methods, deviations)
            try:
                replay.scenario(a.server, os.path.join(a.vectors, name), a.only)
            except Exception as e:
                replay.fail(name, "%s: %s" % (type(e).__name__, e))
            print("%s: %d passed, %d failed, %d skipped" % (name, replay.passed, replay.failed, replay.skipped))
            for line in replay.lines:
                print(line)
            sys.stdout.flush()
            return replay
        # learner.json needs a second member; the cluster tests replay it.
        names = sorted(n for n in os.listdir(a.vectors) if n.endswith(".json") and n != "learner.json")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = list(pool.map(run, names))
    failed = sum(r.failed for r in done)
    print("%d passed, %d failed, %d skipped" % (sum(r.passed for r in done), failed, sum(r.skipped for r in done)))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
