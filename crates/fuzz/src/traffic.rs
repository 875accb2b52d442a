//! What comes over the network to balancers and to the name server.

use crate::Target;

const HTTP_WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    "Host: ",
    "Content-Length: ",
    "Transfer-Encoding: ",
    "chunked",
    "identity",
    "Connection: ",
    "close",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "X-Forwarded-For: ",
    "X-Amzn-Trace-Id: ",
    "HTTP/1.1",
    "HTTP/1.0",
    "http://",
    "GET ",
    "HEAD ",
    "OPTIONS * ",
    "0",
    "18446744073709551616",
    "+5",
    "0x10",
    "\0",
    "\u{e9}",
    "#",
    "@",
    "Root=1-0-0",
];

pub(crate) const REQUEST_HEAD: Target = Target {
    name: "request_head",
    run: puffer_balancer::fuzzing::request_head,
    seeds: &[
        b"GET /a?b=c HTTP/1.1\r\nHost: x.y:80\r\nAccept: */*\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n0\r\n\r\n",
        b"GET http://o.p/z HTTP/1.1\r\nHost: ignored\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"PUT /x HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
    ],
    words: HTTP_WORDS,
};

pub(crate) const RESPONSE_HEAD: Target = Target {
    name: "response_head",
    run: puffer_balancer::fuzzing::response_head,
    seeds: &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\nSet-Cookie: a=b\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.0 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    words: HTTP_WORDS,
};

pub(crate) const CHUNKS: Target = Target {
    name: "chunks",
    run: puffer_balancer::fuzzing::chunks,
    seeds: &[
        b"5\r\nhello\r\n0\r\n\r\n",
        b"a;x=\"y\"\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nGET / HTTP/1.1\r\n",
    ],
    words: &["\r\n", "\n", "0", "5", "ffffffffffffffff", ";", "\"", "\\", "Trailer: x", " "],
};

pub(crate) const DNS: Target = Target {
    name: "dns",
    run: puffer_network::fuzzing::dns,
    seeds: &[
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x03elb\x09amazonaws\x03com\0\0\x01\0\x01",
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x07example\x03org\0\0\x1c\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0",
    ],
    words: &["\x03web", "\x03elb\x09amazonaws\x03com", "\0", "\u{7f}"],
};
