"""uvicorn as people run it, which tells how much memory it has."""

import gc
import socket
import threading
from pathlib import Path

import uvicorn


def serve(app, asking):
    """Print the port; for each line that is asked, the resident bytes; end with the asking."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, backlog=4096))

    def tell():
        while not server.started:
            pass
        print(listening.getsockname()[1], flush=True)
        for _ in asking:
            gc.collect()
            print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096, flush=True)
        server.should_exit = True
        server.force_exit = True

    threading.Thread(target=tell, daemon=True).start()
    server.run([listening])
