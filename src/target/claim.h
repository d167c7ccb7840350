/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim - which device serves which range of which backing. Within the daemon by a table, so that a
 * refusal can name the other device; against other processes by a lock on the file (ub_dev_claim).
 * Set-up threads; the table has a mutex.
 */
#pragma once

struct claim;

/** claims_release - give back a device's claims; its files are closed already */
void claims_release(struct claim **claims);
