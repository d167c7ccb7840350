/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * abi - the kernel interface of ublk_drv as ublkd states it: numbers and layouts as measured on the
 * driver of Linux 7.2 and 7.3, under the kernel's own names. Stands in for linux/ublk_cmd.h (never
 * include both): the header of the build machine is older than what we use.
 *
 * Every struct's size and every member's offset is asserted at the end of this file.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The driver's ioctl-style encoding: direction, argument size, type 'u', number. */
#define UBLK_ABI_CMD(dir, size, nr)                                                                \
	((uint32_t) (dir) << 30 | (uint32_t) (size) << 16 | 0x75U << 8 | (nr))
#define UBLK_ABI_R 2U
#define UBLK_ABI_RW 3U

/* Control commands */
#define UBLK_U_CMD_GET_QUEUE_AFFINITY UBLK_ABI_CMD(UBLK_ABI_R, 32, 0x01)
#define UBLK_U_CMD_GET_DEV_INFO UBLK_ABI_CMD(UBLK_ABI_R, 32, 0x02)
#define UBLK_U_CMD_ADD_DEV UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x04)
#define UBLK_U_CMD_DEL_DEV UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x05)
#define UBLK_U_CMD_START_DEV UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x06)
#define UBLK_U_CMD_STOP_DEV UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x07)
#define UBLK_U_CMD_SET_PARAMS UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x08)
#define UBLK_U_CMD_GET_PARAMS UBLK_ABI_CMD(UBLK_ABI_R, 32, 0x09)
#define UBLK_U_CMD_START_USER_RECOVERY UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x10)
#define UBLK_U_CMD_END_USER_RECOVERY UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x11)
#define UBLK_U_CMD_GET_DEV_INFO2 UBLK_ABI_CMD(UBLK_ABI_R, 32, 0x12)
#define UBLK_U_CMD_GET_FEATURES UBLK_ABI_CMD(UBLK_ABI_R, 32, 0x13)
#define UBLK_U_CMD_DEL_DEV_ASYNC UBLK_ABI_CMD(UBLK_ABI_R, 32, 0x14)
#define UBLK_U_CMD_UPDATE_SIZE UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x15)
#define UBLK_U_CMD_QUIESCE_DEV UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x16)
#define UBLK_U_CMD_TRY_STOP_DEV UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x17)
#define UBLK_U_CMD_REG_BUF UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x18)
#define UBLK_U_CMD_UNREG_BUF UBLK_ABI_CMD(UBLK_ABI_RW, 32, 0x19)

/* I/O commands */
#define UBLK_U_IO_FETCH_REQ UBLK_ABI_CMD(UBLK_ABI_RW, 16, 0x20)
#define UBLK_U_IO_COMMIT_AND_FETCH_REQ UBLK_ABI_CMD(UBLK_ABI_RW, 16, 0x21)
#define UBLK_U_IO_NEED_GET_DATA UBLK_ABI_CMD(UBLK_ABI_RW, 16, 0x22)
#define UBLK_U_IO_REGISTER_IO_BUF UBLK_ABI_CMD(UBLK_ABI_RW, 16, 0x23)
#define UBLK_U_IO_UNREGISTER_IO_BUF UBLK_ABI_CMD(UBLK_ABI_RW, 16, 0x24)
#define UBLK_U_IO_PREP_IO_CMDS UBLK_ABI_CMD(UBLK_ABI_RW, 16, 0x25)
#define UBLK_U_IO_COMMIT_IO_CMDS UBLK_ABI_CMD(UBLK_ABI_RW, 16, 0x26)
#define UBLK_U_IO_FETCH_IO_CMDS UBLK_ABI_CMD(UBLK_ABI_RW, 16, 0x27)

/* Results of FETCH and COMMIT_AND_FETCH */
#define UBLK_IO_RES_OK 0
#define UBLK_IO_RES_NEED_GET_DATA 1
#define UBLK_IO_RES_ABORT (-19)

/* Device features, bits of ublksrv_ctrl_dev_info.flags */
#define UBLK_F_SUPPORT_ZERO_COPY (UINT64_C(1) << 0)
#define UBLK_F_URING_CMD_COMP_IN_TASK (UINT64_C(1) << 1)
#define UBLK_F_NEED_GET_DATA (UINT64_C(1) << 2)
#define UBLK_F_USER_RECOVERY (UINT64_C(1) << 3)
#define UBLK_F_USER_RECOVERY_REISSUE (UINT64_C(1) << 4)
#define UBLK_F_UNPRIVILEGED_DEV (UINT64_C(1) << 5)
#define UBLK_F_CMD_IOCTL_ENCODE (UINT64_C(1) << 6)
#define UBLK_F_USER_COPY (UINT64_C(1) << 7)
#define UBLK_F_ZONED (UINT64_C(1) << 8)
#define UBLK_F_USER_RECOVERY_FAIL_IO (UINT64_C(1) << 9)
#define UBLK_F_UPDATE_SIZE (UINT64_C(1) << 10)
#define UBLK_F_AUTO_BUF_REG (UINT64_C(1) << 11)
#define UBLK_F_QUIESCE (UINT64_C(1) << 12)
#define UBLK_F_PER_IO_DAEMON (UINT64_C(1) << 13)
#define UBLK_F_BUF_REG_OFF_DAEMON (UINT64_C(1) << 14)
#define UBLK_F_BATCH_IO (UINT64_C(1) << 15)
#define UBLK_F_INTEGRITY (UINT64_C(1) << 16)
#define UBLK_F_SAFE_STOP_DEV (UINT64_C(1) << 17)
#define UBLK_F_NO_AUTO_PART_SCAN (UINT64_C(1) << 18)
#define UBLK_F_SHMEM_ZC (UINT64_C(1) << 19)
#define UBLK_F_IO_DESC_SIZE (UINT64_C(1) << 20)

/* Device states */
#define UBLK_S_DEV_DEAD 0
#define UBLK_S_DEV_LIVE 1
#define UBLK_S_DEV_QUIESCED 2
#define UBLK_S_DEV_FAIL_IO 3

/* Request operations, bits 0-7 of op_flags */
#define UBLK_IO_OP_READ 0
#define UBLK_IO_OP_WRITE 1
#define UBLK_IO_OP_FLUSH 2
#define UBLK_IO_OP_DISCARD 3
#define UBLK_IO_OP_WRITE_SAME 4
#define UBLK_IO_OP_WRITE_ZEROES 5
#define UBLK_IO_OP_ZONE_OPEN 10
#define UBLK_IO_OP_ZONE_CLOSE 11
#define UBLK_IO_OP_ZONE_FINISH 12
#define UBLK_IO_OP_ZONE_APPEND 13
#define UBLK_IO_OP_ZONE_RESET_ALL 14
#define UBLK_IO_OP_ZONE_RESET 15
#define UBLK_IO_OP_REPORT_ZONES 18

/* Request flags, in place in op_flags */
#define UBLK_IO_F_FAILFAST_DEV (1U << 8)
#define UBLK_IO_F_FAILFAST_TRANSPORT (1U << 9)
#define UBLK_IO_F_FAILFAST_DRIVER (1U << 10)
#define UBLK_IO_F_META (1U << 11)
#define UBLK_IO_F_FUA (1U << 13)
#define UBLK_IO_F_NOUNMAP (1U << 15)
#define UBLK_IO_F_SWAP (1U << 16)
#define UBLK_IO_F_NEED_REG_BUF (1U << 17)
#define UBLK_IO_F_INTEGRITY (1U << 18)
#define UBLK_IO_F_SHMEM_ZC (1U << 19)

/* Parameters */
#define UBLK_PARAM_TYPE_BASIC (1U << 0)
#define UBLK_PARAM_TYPE_DISCARD (1U << 1)
#define UBLK_PARAM_TYPE_DEVT (1U << 2)
#define UBLK_PARAM_TYPE_ZONED (1U << 3)
#define UBLK_PARAM_TYPE_DMA_ALIGN (1U << 4)
#define UBLK_PARAM_TYPE_SEGMENT (1U << 5)
#define UBLK_PARAM_TYPE_INTEGRITY (1U << 6)

/* Attributes of ublk_param_basic */
#define UBLK_ATTR_READ_ONLY (1U << 0)
#define UBLK_ATTR_ROTATIONAL (1U << 1)
#define UBLK_ATTR_VOLATILE_CACHE (1U << 2)
#define UBLK_ATTR_FUA (1U << 3)

/* ublk_param_integrity: flags and csum_type, from linux/fs.h of Linux 7.0 */
#ifndef LBMD_PI_CAP_REFTAG
#define LBMD_PI_CAP_REFTAG (1U << 1)
#define LBMD_PI_CSUM_NONE 0
#define LBMD_PI_CSUM_IP 1
#define LBMD_PI_CSUM_CRC16_T10DIF 2
#define LBMD_PI_CSUM_CRC64_NVME 4
#endif

/* AUTO_BUF_REG: flags of struct ublk_auto_buf_reg */
#define UBLK_AUTO_BUF_REG_FALLBACK (1U << 0)

/* BATCH_IO: flags of struct ublk_batch_io */
#define UBLK_BATCH_F_HAS_ZONE_LBA (1U << 0)
#define UBLK_BATCH_F_HAS_BUF_ADDR (1U << 1)
#define UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK (1U << 2)

/* SHMEM_ZC: flags of struct ublk_shmem_buf_reg; parts of a descriptor's addr */
#define UBLK_SHMEM_BUF_READ_ONLY (1U << 0)
#define UBLK_SHMEM_ZC_OFF_MASK UINT64_C(0xffffffff)
#define UBLK_SHMEM_ZC_IDX_OFF 32
#define UBLK_SHMEM_ZC_IDX_MASK UINT64_C(0xffff)

/* USER_COPY: where a request's data is on the char device */
#define UBLKSRV_IO_BUF_OFFSET UINT64_C(0x80000000)
#define UBLK_TAG_OFF 25
#define UBLK_QID_OFF 41

/* Limits */
#define UBLK_FEATURES_LEN 8
#define UBLK_MAX_QUEUE_DEPTH 4096
#define UBLK_MAX_NR_QUEUES 4096
#ifndef UBLKSRV_CMD_BUF_OFFSET
#define UBLKSRV_CMD_BUF_OFFSET 0
#endif

/* Device ids run from 0 to this. */
#define UBLK_ABI_MAX_DEV_ID 1048575
/* Largest request a tag can name a buffer for (UBLK_IO_BUF_BITS of the user-copy offset). */
#define UBLK_ABI_MAX_IO_BYTES (UINT32_C(1) << 25)
/* Payload of a control command in the 128-byte SQE, and of an I/O command in the 64-byte one. */
#define UBLK_ABI_SQE_CMD_OFFSET 48

/* Argument of every control command, at UBLK_ABI_SQE_CMD_OFFSET of its SQE. */
struct ublksrv_ctrl_cmd {
	uint32_t dev_id;
	uint16_t queue_id;
	uint16_t len;
	uint64_t addr;
	uint64_t data[1];
	uint16_t dev_path_len;
	uint16_t pad;
	uint32_t reserved;
} __attribute__((aligned(8)));

/* ADD_DEV (in and out), GET_DEV_INFO. */
struct ublksrv_ctrl_dev_info {
	uint16_t nr_hw_queues;
	uint16_t queue_depth;
	uint16_t state;
	uint16_t pad0;
	uint32_t max_io_buf_bytes;
	uint32_t dev_id;
	int32_t ublksrv_pid;
	uint32_t pad1;
	uint64_t flags;
	uint64_t ublksrv_flags;
	uint32_t owner_uid;
	uint32_t owner_gid;
	uint64_t reserved1;
	uint64_t reserved2;
} __attribute__((aligned(8)));

/* One per tag in the mapping of a queue: the request the tag carries. */
struct ublksrv_io_desc {
	uint32_t op_flags;
	union {
		uint32_t nr_sectors;
		uint32_t nr_zones;
	};
	uint64_t start_sector;
	uint64_t addr;
} __attribute__((aligned(8)));

/* Argument of FETCH_REQ and COMMIT_AND_FETCH_REQ. */
struct ublksrv_io_cmd {
	uint16_t q_id;
	uint16_t tag;
	int32_t result;
	union {
		uint64_t addr;
		uint64_t zone_append_lba;
	};
} __attribute__((aligned(8)));

/* AUTO_BUF_REG: `addr` of the SQE of FETCH_REQ and COMMIT_AND_FETCH_REQ. */
struct ublk_auto_buf_reg {
	uint16_t index;
	uint8_t flags;
	uint8_t reserved0;
	uint32_t reserved1;
};

/* Argument of PREP_, COMMIT_ and FETCH_IO_CMDS; the elements are at `addr` of the SQE. */
struct ublk_batch_io {
	uint16_t q_id;
	uint16_t flags;
	uint16_t nr_elem;
	uint8_t elem_bytes;
	uint8_t reserved;
	uint64_t reserved2;
} __attribute__((aligned(8)));

/* One element of a batch; the buffer's address follows with UBLK_BATCH_F_HAS_BUF_ADDR. */
struct ublk_elem_header {
	uint16_t tag;
	uint16_t buf_index;
	int32_t result;
};

/* REG_BUF. */
struct ublk_shmem_buf_reg {
	uint64_t addr;
	uint64_t len;
	uint32_t flags;
	uint32_t reserved;
} __attribute__((aligned(8)));

struct ublk_param_basic {
	uint32_t attrs;
	uint8_t logical_bs_shift;
	uint8_t physical_bs_shift;
	uint8_t io_opt_shift;
	uint8_t io_min_shift;
	uint32_t max_sectors;
	uint32_t chunk_sectors;
	uint64_t dev_sectors;
	uint64_t virt_boundary_mask;
} __attribute__((aligned(8)));

struct ublk_param_discard {
	uint32_t discard_alignment;
	uint32_t discard_granularity;
	uint32_t max_discard_sectors;
	uint32_t max_write_zeroes_sectors;
	uint16_t max_discard_segments;
	uint16_t reserved0;
};

struct ublk_param_devt {
	uint32_t char_major;
	uint32_t char_minor;
	uint32_t disk_major;
	uint32_t disk_minor;
};

struct ublk_param_zoned {
	uint32_t max_open_zones;
	uint32_t max_active_zones;
	uint32_t max_zone_append_sectors;
	uint8_t reserved[20];
};

struct ublk_param_dma_align {
	uint32_t alignment;
	uint8_t pad[4];
};

struct ublk_param_segment {
	uint64_t seg_boundary_mask;
	uint32_t max_segment_size;
	uint16_t max_segments;
	uint8_t pad[2];
} __attribute__((aligned(8)));

struct ublk_param_integrity {
	uint32_t flags;
	uint16_t max_integrity_segments;
	uint8_t interval_exp;
	uint8_t metadata_size;
	uint8_t pi_offset;
	uint8_t csum_type;
	uint8_t tag_size;
	uint8_t pad[5];
};

/* SET_PARAMS, GET_PARAMS; len is sizeof, types says which members count. */
struct ublk_params {
	uint32_t len;
	uint32_t types;
	struct ublk_param_basic basic;
	struct ublk_param_discard discard;
	struct ublk_param_devt devt;
	struct ublk_param_zoned zoned;
	struct ublk_param_dma_align dma;
	struct ublk_param_segment seg;
	struct ublk_param_integrity integrity;
} __attribute__((aligned(8)));

#define UBLK_ABI_AT(s, m, off, size)                                                               \
	_Static_assert(offsetof(struct s, m) == (off) && sizeof(((struct s *) 0)->m) == (size),    \
		       #s "." #m)
UBLK_ABI_AT(ublksrv_ctrl_cmd, dev_id, 0, 4);
UBLK_ABI_AT(ublksrv_ctrl_cmd, queue_id, 4, 2);
UBLK_ABI_AT(ublksrv_ctrl_cmd, len, 6, 2);
UBLK_ABI_AT(ublksrv_ctrl_cmd, addr, 8, 8);
UBLK_ABI_AT(ublksrv_ctrl_cmd, data, 16, 8);
UBLK_ABI_AT(ublksrv_ctrl_cmd, dev_path_len, 24, 2);
UBLK_ABI_AT(ublksrv_ctrl_cmd, pad, 26, 2);
UBLK_ABI_AT(ublksrv_ctrl_cmd, reserved, 28, 4);
_Static_assert(sizeof(struct ublksrv_ctrl_cmd) == 32, "size of ublksrv_ctrl_cmd");
UBLK_ABI_AT(ublksrv_ctrl_dev_info, nr_hw_queues, 0, 2);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, queue_depth, 2, 2);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, state, 4, 2);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, pad0, 6, 2);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, max_io_buf_bytes, 8, 4);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, dev_id, 12, 4);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, ublksrv_pid, 16, 4);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, pad1, 20, 4);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, flags, 24, 8);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, ublksrv_flags, 32, 8);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, owner_uid, 40, 4);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, owner_gid, 44, 4);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, reserved1, 48, 8);
UBLK_ABI_AT(ublksrv_ctrl_dev_info, reserved2, 56, 8);
_Static_assert(sizeof(struct ublksrv_ctrl_dev_info) == 64, "size of ublksrv_ctrl_dev_info");
UBLK_ABI_AT(ublksrv_io_desc, op_flags, 0, 4);
UBLK_ABI_AT(ublksrv_io_desc, nr_sectors, 4, 4);
UBLK_ABI_AT(ublksrv_io_desc, nr_zones, 4, 4);
UBLK_ABI_AT(ublksrv_io_desc, start_sector, 8, 8);
UBLK_ABI_AT(ublksrv_io_desc, addr, 16, 8);
_Static_assert(sizeof(struct ublksrv_io_desc) == 24, "size of ublksrv_io_desc");
UBLK_ABI_AT(ublksrv_io_cmd, q_id, 0, 2);
UBLK_ABI_AT(ublksrv_io_cmd, tag, 2, 2);
UBLK_ABI_AT(ublksrv_io_cmd, result, 4, 4);
UBLK_ABI_AT(ublksrv_io_cmd, addr, 8, 8);
UBLK_ABI_AT(ublksrv_io_cmd, zone_append_lba, 8, 8);
_Static_assert(sizeof(struct ublksrv_io_cmd) == 16, "size of ublksrv_io_cmd");
UBLK_ABI_AT(ublk_auto_buf_reg, index, 0, 2);
UBLK_ABI_AT(ublk_auto_buf_reg, flags, 2, 1);
UBLK_ABI_AT(ublk_auto_buf_reg, reserved0, 3, 1);
UBLK_ABI_AT(ublk_auto_buf_reg, reserved1, 4, 4);
_Static_assert(sizeof(struct ublk_auto_buf_reg) == 8, "size of ublk_auto_buf_reg");
UBLK_ABI_AT(ublk_batch_io, q_id, 0, 2);
UBLK_ABI_AT(ublk_batch_io, flags, 2, 2);
UBLK_ABI_AT(ublk_batch_io, nr_elem, 4, 2);
UBLK_ABI_AT(ublk_batch_io, elem_bytes, 6, 1);
UBLK_ABI_AT(ublk_batch_io, reserved, 7, 1);
UBLK_ABI_AT(ublk_batch_io, reserved2, 8, 8);
_Static_assert(sizeof(struct ublk_batch_io) == 16, "size of ublk_batch_io");
UBLK_ABI_AT(ublk_elem_header, tag, 0, 2);
UBLK_ABI_AT(ublk_elem_header, buf_index, 2, 2);
UBLK_ABI_AT(ublk_elem_header, result, 4, 4);
_Static_assert(sizeof(struct ublk_elem_header) == 8, "size of ublk_elem_header");
UBLK_ABI_AT(ublk_shmem_buf_reg, addr, 0, 8);
UBLK_ABI_AT(ublk_shmem_buf_reg, len, 8, 8);
UBLK_ABI_AT(ublk_shmem_buf_reg, flags, 16, 4);
UBLK_ABI_AT(ublk_shmem_buf_reg, reserved, 20, 4);
_Static_assert(sizeof(struct ublk_shmem_buf_reg) == 24, "size of ublk_shmem_buf_reg");
UBLK_ABI_AT(ublk_param_basic, attrs, 0, 4);
UBLK_ABI_AT(ublk_param_basic, logical_bs_shift, 4, 1);
UBLK_ABI_AT(ublk_param_basic, physical_bs_shift, 5, 1);
UBLK_ABI_AT(ublk_param_basic, io_opt_shift, 6, 1);
UBLK_ABI_AT(ublk_param_basic, io_min_shift, 7, 1);
UBLK_ABI_AT(ublk_param_basic, max_sectors, 8, 4);
UBLK_ABI_AT(ublk_param_basic, chunk_sectors, 12, 4);
UBLK_ABI_AT(ublk_param_basic, dev_sectors, 16, 8);
UBLK_ABI_AT(ublk_param_basic, virt_boundary_mask, 24, 8);
_Static_assert(sizeof(struct ublk_param_basic) == 32, "size of ublk_param_basic");
UBLK_ABI_AT(ublk_param_discard, discard_alignment, 0, 4);
UBLK_ABI_AT(ublk_param_discard, discard_granularity, 4, 4);
UBLK_ABI_AT(ublk_param_discard, max_discard_sectors, 8, 4);
UBLK_ABI_AT(ublk_param_discard, max_write_zeroes_sectors, 12, 4);
UBLK_ABI_AT(ublk_param_discard, max_discard_segments, 16, 2);
UBLK_ABI_AT(ublk_param_discard, reserved0, 18, 2);
_Static_assert(sizeof(struct ublk_param_discard) == 20, "size of ublk_param_discard");
UBLK_ABI_AT(ublk_param_devt, char_major, 0, 4);
UBLK_ABI_AT(ublk_param_devt, char_minor, 4, 4);
UBLK_ABI_AT(ublk_param_devt, disk_major, 8, 4);
UBLK_ABI_AT(ublk_param_devt, disk_minor, 12, 4);
_Static_assert(sizeof(struct ublk_param_devt) == 16, "size of ublk_param_devt");
UBLK_ABI_AT(ublk_param_zoned, max_open_zones, 0, 4);
UBLK_ABI_AT(ublk_param_zoned, max_active_zones, 4, 4);
UBLK_ABI_AT(ublk_param_zoned, max_zone_append_sectors, 8, 4);
UBLK_ABI_AT(ublk_param_zoned, reserved, 12, 20);
_Static_assert(sizeof(struct ublk_param_zoned) == 32, "size of ublk_param_zoned");
UBLK_ABI_AT(ublk_param_dma_align, alignment, 0, 4);
UBLK_ABI_AT(ublk_param_dma_align, pad, 4, 4);
_Static_assert(sizeof(struct ublk_param_dma_align) == 8, "size of ublk_param_dma_align");
UBLK_ABI_AT(ublk_param_segment, seg_boundary_mask, 0, 8);
UBLK_ABI_AT(ublk_param_segment, max_segment_size, 8, 4);
UBLK_ABI_AT(ublk_param_segment, max_segments, 12, 2);
UBLK_ABI_AT(ublk_param_segment, pad, 14, 2);
_Static_assert(sizeof(struct ublk_param_segment) == 16, "size of ublk_param_segment");
UBLK_ABI_AT(ublk_param_integrity, flags, 0, 4);
UBLK_ABI_AT(ublk_param_integrity, max_integrity_segments, 4, 2);
UBLK_ABI_AT(ublk_param_integrity, interval_exp, 6, 1);
UBLK_ABI_AT(ublk_param_integrity, metadata_size, 7, 1);
UBLK_ABI_AT(ublk_param_integrity, pi_offset, 8, 1);
UBLK_ABI_AT(ublk_param_integrity, csum_type, 9, 1);
UBLK_ABI_AT(ublk_param_integrity, tag_size, 10, 1);
UBLK_ABI_AT(ublk_param_integrity, pad, 11, 5);
_Static_assert(sizeof(struct ublk_param_integrity) == 16, "size of ublk_param_integrity");
UBLK_ABI_AT(ublk_params, len, 0, 4);
UBLK_ABI_AT(ublk_params, types, 4, 4);
UBLK_ABI_AT(ublk_params, basic, 8, 32);
UBLK_ABI_AT(ublk_params, discard, 40, 20);
UBLK_ABI_AT(ublk_params, devt, 60, 16);
UBLK_ABI_AT(ublk_params, zoned, 76, 32);
UBLK_ABI_AT(ublk_params, dma, 108, 8);
UBLK_ABI_AT(ublk_params, seg, 120, 16);
UBLK_ABI_AT(ublk_params, integrity, 136, 16);
_Static_assert(sizeof(struct ublk_params) == 152, "size of ublk_params");
#undef UBLK_ABI_AT
