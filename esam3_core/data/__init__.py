# SPDX-License-Identifier: Apache-2.0
"""Readers that turn pictures with masks into samples, and what is done to a sample before training."""
