from gevent import monkey

monkey.patch_all()

import importlib  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

module, port = sys.argv[1], int(sys.argv[2])
options = {}
host = os.environ.get("RTCIO_TEST_HOST", "127.0.0.1")
if certificate := os.environ.get("RTCIO_TEST_CERTIFICATE"):
    options.update(certfile=certificate, keyfile=certificate)
importlib.import_module(module).server.listen(port, host=host, **options)
