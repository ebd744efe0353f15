"""An HTTP proxy for whole URLs and tunnels, which can lose answers and lead elsewhere; also as a front with TLS for a server."""

import http.client
import http.server
import select
import socket
import ssl
import threading
import urllib.parse


class WebProxy(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream=None, certificate=None):
        """`upstream`: the port of whom it stands in front of, for requests that name nobody. `certificate`: files of it and its key."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.port, self.upstream, self.context = self.server_address[1], upstream, None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        # What was asked for: "PUT http://127.0.0.1:1/x", "CONNECT 127.0.0.1:1".
        self.seen = []
        # Method -> how many requests are passed on and their answers thrown away.
        self.lose = {}
        # Beginning of paths -> what they are answered: bytes, or a beginning of URLs to go to.
        self.canned = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address):
        # Here, in the connection's own thread, it may take its time.
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        """Who hangs up is no news."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def pass_on(self):
        self.server.seen.append("%s %s" % (self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        for beginning, canned in self.server.canned.items():
            if url.path.startswith(beginning):
                if isinstance(canned, bytes):
                    return self.answer(200, [], canned)
                there = "%s%s?%s" % (canned, url.path[len(beginning):], url.query)
                return self.answer(307, [("Location", there)], b"")
        # Waits end when the registry ends; nothing else takes long.
        connection = http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port or self.server.upstream)
        try:
            connection.request(self.command, "%s?%s" % (url.path, url.query), body, dict(self.headers))
            response = connection.getresponse()
            answer = response.read()
        except OSError:
            return self.answer(502, [], b"")
        finally:
            connection.close()
        if self.server.lose.get(self.command, 0) > 0:
            self.server.lose[self.command] -= 1
            self.close_connection = True
            return
        kept = [h for h in response.getheaders() if h[0].lower() in ("content-type", "x-etcd-index")]
        self.answer(response.status, kept, answer)

    do_GET = do_PUT = pass_on

    def do_CONNECT(self):
        self.server.seen.append("CONNECT %s" % self.path)
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as other:
            self.send_response(200)
            self.end_headers()
            ways = {self.connection: other, other: self.connection}
            while True:
                for ready in select.select(list(ways), [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    ways[ready].sendall(data)
