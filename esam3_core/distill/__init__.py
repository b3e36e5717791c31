# SPDX-License-Identifier: Apache-2.0
"""Distillation: the stages that make a student."""
