"""Clients that others wrote, against one of our servers: aetcd (gRPC) and etcd3gw (the JSON gateway).

    clients.py --server "COMMAND"

Prints "clients passed"; whatever is not as their users expect ends it with an assertion.
"""

import argparse
import asyncio
import threading

import aetcd
import etcd3gw

from peers import Server


def check(condition, what):
    assert condition, what


async def aetcd_client(port):
    async with aetcd.Client(host="127.0.0.1", port=port) as c:
        await c.put(b"a", b"1")
        check((await c.get(b"a")).value == b"1", "get")
        check(await c.get(b"none") is None, "get of nothing")
        check(await c.replace(b"a", b"1", b"2"), "replace")
        check(not await c.replace(b"a", b"1", b"3"), "replace of another value")
        watch = await c.watch_prefix(b"w/")
        for i in range(5):
            await c.put(b"w/%d" % i, b"v%d" % i)
        await c.delete(b"w/0")
        seen = []
        async for event in watch:
            seen.append((str(event.kind), event.kv.key, event.kv.value))
            if len(seen) == 6:
                break
        check(seen == [("PUT", b"w/%d" % i, b"v%d" % i) for i in range(5)] + [("DELETE", b"w/0", b"")], seen)
        lease = await c.lease(30)
        await c.put(b"l", b"1", lease=lease)
        await lease.refresh()
        check(20 < await lease.remaining_ttl() <= 30, "remaining time")
        await lease.revoke()
        check(await c.get(b"l") is None, "a key outlives its lease")
        async with c.lock(b"lock", ttl=10) as lock:
            check(await lock.is_acquired(), "lock")
        done, _ = await c.transaction(
            compare=[c.transactions.value(b"a") == b"2", c.transactions.version(b"a") > 0],
            success=[c.transactions.put(b"t", b"1"), c.transactions.get(b"a")], failure=[])
        check(done, "transaction")
        check([kv.key async for kv in aiter_of(await c.get_prefix(b"w/"))] == [b"w/%d" % i for i in range(1, 5)], "prefix")
        status = await c.status()
        check(status.version.startswith("3."), status.version)


async def aiter_of(result):
    for item in result:
        yield item


def gateway_client(port):
    c = etcd3gw.client(host="127.0.0.1", port=port)
    check(c.status()["version"].startswith("3."), "status")
    check(len(c.members()) == 1, "members")
    c.put("g1", "v")
    check(c.get("g1") == [b"v"], "get")
    check(c.create("g2", "x") and not c.create("g2", "y"), "create")
    check(c.replace("g1", "v", "v2") and not c.replace("g1", "v", "v3"), "replace")
    lease = c.lease(ttl=30)
    c.put("g3", "v", lease=lease)
    check(lease.keys() == [b"g3"] and 20 < lease.ttl() <= 30 and lease.refresh() == 30, "lease")
    check(lease.revoke() and c.get("g3") == [], "a key outlives its lease")
    events, cancel = c.watch_prefix("gw/")
    # The gateway's watch has begun when its first answer has come: what is written after is seen.
    threading.Thread(target=lambda: [c.put("gw/%d" % i, "z") for i in range(3)]).start()
    check([next(events)["kv"]["key"] for _ in range(3)] == [b"gw/%d" % i for i in range(3)], "watch")
    cancel()
    with c.lock("lock", ttl=10) as lock:
        check(lock.is_acquired(), "lock")
    check([meta["key"] for _, meta in c.get_prefix("g", sort_order="ascend")][:2] == [b"g1", b"g2"], "prefix")
    check(c.delete_prefix("g") and c.get_prefix("g") == [], "delete")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--server", required=True)
    p.add_argument("--protos")
    a = p.parse_args()
    server = Server(a.server, [])
    try:
        asyncio.run(aetcd_client(server.client))
        gateway_client(server.client)
    finally:
        server.stop()
        server.remove()
    print("clients passed")


if __name__ == "__main__":
    main()
