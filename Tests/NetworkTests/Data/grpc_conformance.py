"""Drives the test server with grpcio. Prints "ok NAME" for each case that holds; the first that does not ends the run.

Usage: grpc_conformance.py PORT [CASE ...]
"""

import concurrent.futures
import sys
import threading
import time

import grpc

PORT = sys.argv[1]
TARGET = f"127.0.0.1:{PORT}"
BIG = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
SERVICE = "/test.Echo/"


def channel(*options):
    return grpc.insecure_channel(TARGET, options=BIG + list(options) + [("grpc.use_local_subchannel_pool", 1)])


def unary(ch, method, request, **kw):
    kw.setdefault("timeout", 30)
    return ch.unary_unary(SERVICE + method)(request, **kw)


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def error_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("no error")


def wait(what, condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("never: " + what)


def case_unary():
    with channel() as ch:
        for size in [0, 1, 5, 100, 16379, 16380, 16384, 65530, 65536, 1 << 20, 4 << 20]:
            data = bytes(i * 7 & 255 for i in range(min(size, 5000))) * (size // 5000 + 1)
            expect(unary(ch, "Unary", data[:size]) == data[:size], f"echo of {size} bytes")


def case_many_at_once():
    with channel() as ch:
        call = ch.unary_unary(SERVICE + "Unary")
        futures = [call.future(str(i).encode(), timeout=30) for i in range(3000)]
        expect([f.result() for f in futures] == [str(i).encode() for i in range(3000)], "answers in order")


def case_too_large():
    with channel() as ch:
        code, text = error_of(lambda: unary(ch, "Unary", b"x" * (8 * 1024 * 1024 + 1)))
        expect(code == grpc.StatusCode.RESOURCE_EXHAUSTED, code)
        expect(text == "grpc: received message larger than max (8388609 vs. 8388608)", text)
        expect(unary(ch, "Unary", b"next") == b"next", "the connection lives on")


def case_compressed():
    with channel() as ch:
        code, text = error_of(lambda: unary(ch, "Unary", b"x" * 1000, compression=grpc.Compression.Gzip))
        expect(code == grpc.StatusCode.UNIMPLEMENTED, code)
        expect(text == 'grpc: Decompressor is not installed for grpc-encoding "gzip"', text)


def case_status():
    with channel() as ch:
        codes = {c.value[0]: c for c in grpc.StatusCode}
        for number in range(1, 17):
            code, text = error_of(lambda: unary(ch, "Fail", bytes([number])))
            expect(code == codes[number], code)
            expect(text == 'gräßlich: 100 % "1"\n', repr(text))


def case_unknown():
    with channel() as ch:
        code, text = error_of(lambda: unary(ch, "Nothing", b""))
        expect((code, text) == (grpc.StatusCode.UNIMPLEMENTED, "unknown method Nothing for service test.Echo"), text)
        code, text = error_of(lambda: ch.unary_unary("/no.Such/Call")(b"", timeout=10))
        expect((code, text) == (grpc.StatusCode.UNIMPLEMENTED, "unknown service no.Such"), text)


def case_metadata():
    with channel() as ch:
        metadata = [("token", "abc.1"), ("hasleader", "true"), ("x-long", "v" * 5000), ("data-bin", b"\x00\xff\x01raw")]
        answer = unary(ch, "Metadata", b"", metadata=metadata).decode()
        fields = dict(line.split("=", 1) for line in answer.splitlines())
        expect(fields["token"] == "abc.1" and fields["hasleader"] == "true", answer)
        expect(fields["x-long"] == "v" * 5000, "long value")
        expect(fields["data-bin"].rstrip("=") == "AP8BcmF3", fields["data-bin"])
        expect(fields["content-type"] == "application/grpc", answer)


def case_server_stream():
    with channel() as ch:
        call = ch.unary_stream(SERVICE + "Expand")
        expect(sum(len(m) for m in call(b"10000,100", timeout=60)) == 1000000, "many small")
        expect([len(m) for m in call(b"20,1000000", timeout=60)] == [1000000] * 20, "few large")
        expect(list(call(b"0,0", timeout=60)) == [], "none")


def case_client_stream():
    with channel() as ch:
        call = ch.stream_unary(SERVICE + "Sum")
        expect(call(iter([b"x" * 1000] * 5000), timeout=60) == b"5000000", "sum")
        expect(call(iter([]), timeout=60) == b"0", "empty")
        expect(call(iter([b"y" * 3000000] * 3), timeout=60) == b"9000000", "large")


def case_server_stops_early():
    with channel() as ch:
        def endless():
            yield b"stop"
            while True:
                yield b"x" * 10000
        code, text = error_of(lambda: ch.stream_unary(SERVICE + "Sum")(endless(), timeout=30))
        expect((code, text) == (grpc.StatusCode.FAILED_PRECONDITION, "stopped"), text)
        expect(unary(ch, "Unary", b"next") == b"next", "the connection lives on")


def case_bidi():
    with channel() as ch:
        ready = threading.Semaphore(1)

        def requests():
            for i in range(2000):
                ready.acquire()
                yield str(i).encode()

        got = []
        for message in ch.stream_stream(SERVICE + "Chat")(requests(), timeout=60):
            got.append(int(message))
            ready.release()
        expect(got == list(range(2000)), "ping-pong")


def cancelled(ch):
    return int(unary(ch, "Cancelled", b""))


def begun(ch):
    return int(unary(ch, "Started", b""))


def case_deadline():
    with channel() as ch:
        before, begun_before = cancelled(ch), begun(ch)

        # On a busy machine a deadline may pass before its call is on its way: then there is nothing to hear of.
        def every_call_is_told():
            count = begun(ch) - begun_before
            return count > 0 and cancelled(ch) - before == count

        code = None
        while begun(ch) == begun_before:
            code, _ = error_of(lambda: unary(ch, "Never", b"", timeout=0.2))
        expect(code == grpc.StatusCode.DEADLINE_EXCEEDED, code)
        wait("the server hears of it", every_call_is_told)
        # Many at once, each told once.
        call = ch.unary_unary(SERVICE + "Never")
        for least in (0.3, 1, 5, 20):
            already = begun(ch)
            futures = [call.future(b"", timeout=least + i / 1000) for i in range(300)]
            for f in futures:
                expect(f.code() == grpc.StatusCode.DEADLINE_EXCEEDED, f.code())
            wait("the server hears of all", every_call_is_told)
            if begun(ch) == already + 300:
                return
        raise AssertionError("300 calls are not on their way in 20 s")


def case_cancel():
    with channel() as ch:
        before = cancelled(ch)
        futures = [ch.unary_unary(SERVICE + "Never").future(b"") for _ in range(50)]
        stream = ch.stream_stream(SERVICE + "Chat")(iter(lambda: time.sleep(60), None))
        wait("the server has them all", lambda: begun(ch) == 51)
        for f in futures:
            f.cancel()
        stream.cancel()
        wait("the server hears of it", lambda: cancelled(ch) == before + 51)
    # A client that goes away takes its calls with it.
    with channel() as ch:
        kept = ch.unary_unary(SERVICE + "Never").future(b"")
        wait("the server has it", lambda: begun(ch) == 52)
    with channel() as ch:
        wait("the server hears of it", lambda: cancelled(ch) == before + 52)


def case_later():
    with channel() as ch, channel() as other:
        futures = [ch.unary_unary(SERVICE + "Hold").future(b"", timeout=30) for _ in range(20)]
        gone = other.unary_unary(SERVICE + "Hold").future(b"", timeout=30)
        wait("the server has them all", lambda: begun(ch) == 21)
        gone.cancel()
        count = int(unary(ch, "Release", b"later"))
        expect(count == 21, count)
        expect([f.result() for f in futures] == [b"later"] * 20, "answered later")


def case_slow_reader():
    with channel(("grpc.http2.lookahead_bytes", 65536)) as ch, channel() as other:
        stream = ch.unary_stream(SERVICE + "Expand")(b"4000,100000", timeout=120)
        next(stream)
        last = -1
        while True:  # until the producer has stopped
            _, sent = map(int, unary(other, "Queued", b"").split())
            if sent == last:
                break
            last = sent
            time.sleep(0.3)
        queued, _ = map(int, unary(other, "Queued", b"").split())
        expect(queued <= 3000000, f"{queued} bytes queued")
        expect(sum(1 for _ in stream) == 3999, "all arrive when read")


def case_health():
    with channel() as ch:
        check = ch.unary_unary("/grpc.health.v1.Health/Check")
        expect(check(b"", timeout=10) == b"\x08\x01", "serving")
        code, text = error_of(lambda: check(b"\x0a\x04none", timeout=10))
        expect((code, text) == (grpc.StatusCode.NOT_FOUND, "unknown service"), text)
        watch = ch.unary_stream("/grpc.health.v1.Health/Watch")(b"\x0a\x04none", timeout=10)
        expect(next(watch) == b"\x08\x03", "unknown for now")
        watch.cancel()
        code, _ = error_of(lambda: check(b"\x0a\x7f", timeout=10))
        expect(code == grpc.StatusCode.INTERNAL, code)


def case_threads():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        def work(n):
            with channel() as ch:
                return all(unary(ch, "Unary", b"%d %d" % (n, i)) == b"%d %d" % (n, i) for i in range(200))
        expect(all(pool.map(work, range(8))), "eight clients")


names = sys.argv[2:] or [n[5:] for n in list(globals()) if n.startswith("case_")]
for name in names:
    started = time.time()
    try:
        globals()["case_" + name]()
    except BaseException as problem:
        print(f"FAILED {name}: {type(problem).__name__} {problem}", flush=True)
        sys.exit(1)
    print(f"ok {name} {time.time() - started:.2f} s", flush=True)
