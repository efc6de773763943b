from gevent import monkey

monkey.patch_all()

import importlib  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from gevent import pywsgi  # noqa: E402

module, port = sys.argv[1], int(sys.argv[2])
options = {}
if "--geventwebsocket" in sys.argv:
    from geventwebsocket.handler import WebSocketHandler

    options["handler_class"] = WebSocketHandler
if certificate := os.environ.get("RTCIO_TEST_CERTIFICATE"):
    options.update(certfile=certificate, keyfile=certificate)
app = importlib.import_module(module).app
pywsgi.WSGIServer(("127.0.0.1", port), app, **options).serve_forever()
