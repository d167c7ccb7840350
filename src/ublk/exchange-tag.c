/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exchange-tag - a command per request: FETCH_REQ once for each tag, then COMMIT_AND_FETCH_REQ,
 * whose completion is the tag's next request. With NEED_GET_DATA a write is announced first, and
 * its data comes with the completion of a command of that name.
 */
#include <string.h>

#include "ublk/exchange.h"
#include "ublk/queue.h"
#include "util/list.h"

static void tag_command(struct slot *s, uint32_t cmd_op, int32_t result)
{
	struct queue *q = s->queue;
	struct ublksrv_io_cmd cmd = {
		.q_id = (uint16_t) q->config.q_id,
		.tag = (uint16_t) s->tag,
		.result = result,
		.addr = slot_memory(s),
	};
	struct io_uring_sqe *sqe = queue_command(q, &s->fetched, cmd_op);

	if (!sqe)
		return;
	memcpy((char *) sqe + UBLK_ABI_SQE_CMD_OFFSET, &cmd, sizeof(cmd));
	if (q->config.path.copy == DATA_COPY_ZERO_AUTO) {
		const struct ublk_auto_buf_reg reg = {
			.index = (uint16_t) s->data.index,
			.flags = UBLK_AUTO_BUF_REG_FALLBACK,
		};

		memcpy(&sqe->addr, &reg, sizeof(reg));
	}
}

static void tag_fetched(struct ur_op *op, int res)
{
	struct slot *s = container_of(op, struct slot, fetched);

	if (res == UBLK_IO_RES_OK) {
		slot_arrived(s);
	} else if (res == UBLK_IO_RES_NEED_GET_DATA) {
		s->announced = true;
		tag_command(s, UBLK_U_IO_NEED_GET_DATA, 0);
	} else {
		/* ABORT ends the tag; anything else means the kernel refused the command. */
		queue_ended(s->queue, 1, res);
	}
}

static int tag_arm(struct queue *q)
{
	int r;

	for (unsigned int i = 0; i < q->config.n_tags; i++) {
		struct slot *s = queue_slot(q, i);

		s->fetched.done = tag_fetched;
		tag_command(s, UBLK_U_IO_FETCH_REQ, 0);
	}
	/* A refused FETCH is answered at once. */
	r = ring_turn(&q->ring, 0);
	return r < 0 ? r : 0;
}

static void tag_commit(struct slot *s, int32_t result)
{
	tag_command(s, UBLK_U_IO_COMMIT_AND_FETCH_REQ, result);
}

const struct exchange exchange_tag = {.arm = tag_arm, .commit = tag_commit};
