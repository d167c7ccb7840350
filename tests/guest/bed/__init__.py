# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMU guest test bed: everything behind the `guest` command."""
