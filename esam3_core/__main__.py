# SPDX-License-Identifier: Apache-2.0
"""`python -m esam3_core` is `esam3`."""

import sys

from esam3_core.cli import main

sys.exit(main())
