"""Wire formats without I/O: RFC 6455, HTTP heads, envelopes, the names in a packet."""
