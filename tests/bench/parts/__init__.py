# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benches share. `bed`, the guests' package, is found beside them."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
SOURCE = HERE.parents[1]
GUEST = HERE.parent / "guest"

sys.path.insert(0, str(GUEST))
os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
