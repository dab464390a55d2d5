"""``python -m agent_run_id.cli`` is `runid`."""

from __future__ import annotations

import sys

from agent_run_id.cli import main

if __name__ == "__main__":
    sys.exit(main())
