"""The lab's web app: GET /?n=N sums 1..N in Python, so that CPU burns; GET /health answers at once.

With Flask it is a Flask app. Without (the process driver on a machine that has no network to install it) it is the same as a plain WSGI
app, which `python3 app.py` serves by itself.
"""

import os
import socket

N_MAX = 10**9


def add_up(n):
    total = 0
    for i in range(1, n + 1):
        total += i
    return total


def instance():
    """Which instance answers: its id if the environment has it, else its host name."""
    return os.environ.get("PUFFER_INSTANCE_ID") or socket.gethostname()


def counter(text):
    try:
        n = int(text)
    except ValueError:
        return None
    return add_up(n) if 0 <= n <= N_MAX else None


try:
    from flask import Flask, request
except ImportError:
    from urllib.parse import parse_qs

    def app(environ, start_response):
        status, body = "404 Not Found", "not found\n"
        if environ["PATH_INFO"] == "/health":
            status, body = "200 OK", "ok\n"
        elif environ["PATH_INFO"] == "/":
            n = parse_qs(environ.get("QUERY_STRING", "")).get("n", ["0"])[0]
            total = counter(n)
            if total is None:
                status, body = "400 Bad Request", "n is a number from 0 to %d\n" % N_MAX
            else:
                status, body = "200 OK", "%s: %s\n" % (instance(), total)
        data = body.encode()
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(data)))])
        return [data]

else:
    app = Flask(__name__)

    @app.get("/health")
    def health():
        return "ok\n"

    @app.get("/")
    def index():
        total = counter(request.args.get("n", "0"))
        if total is None:
            return "n is a number from 0 to %d\n" % N_MAX, 400
        return "%s: %s\n" % (instance(), total)


if __name__ == "__main__":
    import socketserver
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Server(socketserver.ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_message(self, format, *args):
            pass

        def address_string(self):
            return self.client_address[0]

    where = (os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "80")))
    make_server(*where, app, server_class=Server, handler_class=Handler).serve_forever()
