from gevent import monkey

monkey.patch_all()

import importlib  # noqa: E402
import sys  # noqa: E402

module, port = importlib.import_module(sys.argv[1]), int(sys.argv[2])
module.socketio.run(module.app, port=port)
