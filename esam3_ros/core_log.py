# SPDX-License-Identifier: Apache-2.0
"""Warnings of esam3_core, which knows no ROS, in the ROS log."""

from __future__ import annotations

import logging
from typing import Any

CORE = "esam3_core"


class CoreLog(logging.Handler):
    """Forwards what the core logs to a ROS logger, from construction until `close`."""

    def __init__(self, ros_logger: Any) -> None:
        super().__init__(logging.WARNING)
        self._ros_logger = ros_logger
        logging.getLogger(CORE).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self._ros_logger.error(record.getMessage())
        else:
            self._ros_logger.warning(record.getMessage())

    def close(self) -> None:
        logging.getLogger(CORE).removeHandler(self)
        super().close()
