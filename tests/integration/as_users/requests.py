"""In the way of the package of this name, in the servers of the tests.

python-engineio imports it for its clients, if it is there. A user of the server has none, and the
tests start a thousand servers.
"""

raise ImportError("a server needs no requests")
