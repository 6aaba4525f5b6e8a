from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import signal, threading, time
from iup_pose_ros.node.stop_request import StopRequest

stop = StopRequest()
stop.defer()
other = threading.Thread(target=time.sleep, args=(300.0,), daemon=True)
other.start()
threading.Timer(0.5, signal.pthread_kill, (other.ident, signal.SIGINT)).start()
stop.wait()
print("stopped")
"""


def test_a_signal_that_another_thread_receives_is_a_stop_request() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60.0, check=True
    )
    assert found.stdout == "stopped\n"
