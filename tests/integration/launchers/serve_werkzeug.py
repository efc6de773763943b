import importlib
import sys

module, port = sys.argv[1], int(sys.argv[2])
importlib.import_module(module).app.run(host="127.0.0.1", port=port, threaded=True)
