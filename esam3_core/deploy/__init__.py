# SPDX-License-Identifier: Apache-2.0
"""From a trained student to what a robot runs."""
