/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * op - the one continuation. user_data of every SQE is the address of a struct ur_op; its CQE calls
 * done() with the result, on the thread of the ring. No decoding, as many kinds of operation as
 * anybody wants. The op must outlive its CQE, cancelled or not: it is embedded in what it works
 * for, never on a stack.
 */
#pragma once

struct ur_op {
	void (*done)(struct ur_op *op, int res);
};
