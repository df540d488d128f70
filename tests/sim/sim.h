/* SPDX-License-Identifier: Apache-2.0 */
/* sim — the simulated twin of src/io: a world of machines with virtual time, a hostile network and disks that forget. The same
 * bytes of software run in it; a run is a function of its seed.
 *
 *   sim (time, chance, queue) ─┬─ sim_node "10.0.0.1": disk (survives) + process (struct io, workers as fibers; dies)
 *                              ├─ sim_node "10.0.0.2" …
 *                              └─ sim_client: scripted connections of a test
 *
 * A test makes a world and machines, boots software on them, runs the world until a time or a condition, crashes and repairs,
 * boots again. One thread; nothing here is thread-safe, but two worlds share nothing.
 *
 * What the software must know:
 * - It sees io.h and nothing else. A job of a worker is a fiber: every file call takes virtual time, in which the loop, other
 *   lanes and other machines go on. Between two file calls a job is not interrupted.
 * - It unwinds on ERR_CRASHED. When a process dies, every file call that is under way or made later returns ERR_CRASHED at once,
 *   so that straight-line code runs to its end and frees what it holds on the stack; `done` of its job never comes, and no
 *   callback, timer, task or hook. Then sim_program.teardown frees the software's memory. Streams, listeners and files that it
 *   left open are freed by the world; closing them in teardown does no harm.
 * - Loop code between two callbacks takes no virtual time. Several events may share a turn, as they do in production. */
#ifndef THEBES_TESTS_SIM_SIM_H
#define THEBES_TESTS_SIM_SIM_H

#include <stdio.h>

#include "thebes/io.h"

struct sim;
struct sim_node;

/* Parts per million: how often a thing of chance happens. */
enum { PPM = 1000000 };

/* ---- the world ---- */

struct sim *sim_new(uint64_t seed);
/* Kills every process (teardown runs) and frees everything. */
void sim_free(struct sim *s);
uint64_t sim_seed(const struct sim *s);

/* The seeds that a test runs: `usual` of them from 0, or as the environment says: THEBES_SIM_TIMES=k: k times as many;
 * THEBES_SIM_SEED=n: only n, with THEBES_SIM_TRACE=1 every event of it on stderr. */
struct sim_seeds {
	uint64_t first, end; /* [first, end) */
	bool is_single;      /* floors on sums do not count */
	FILE *trace;         /* for sim_trace; or NULL */
};
struct sim_seeds sim_seeds(uint64_t usual);

uint64_t sim_now_ns(const struct sim *s); /* virtual time since the world began */
/* Chance for tests, from the same seed. Two draws in one expression have no order: with another compiler another run. */
uint64_t sim_below(struct sim *s, uint64_t bound);
bool sim_chance(struct sim *s, uint64_t ppm);

/* Handles the next event; false when there is none. */
bool sim_step(struct sim *s);
/* Handles what happens within `ns` from now, then it is that much later. */
void sim_run_for(struct sim *s, uint64_t ns);
/* Runs until `is_done`, asked after every event, is true; false after `limit_ns` or when nothing can happen any more. */
typedef bool sim_done_fn(void *arg);
must_check bool sim_run_until(struct sim *s, sim_done_fn *is_done, void *arg, uint64_t limit_ns);
/* Calls `act` at a time from now, outside all machines: a test's script (crash this, heal that). */
typedef void sim_act_fn(void *arg);
void sim_after(struct sim *s, uint64_t delay_ns, sim_act_fn *act, void *arg);

/* A hash of everything observable so far: order and time of events, bytes on the network, file calls and their results.
 * The same program and seed give the same hash; sim_mix adds what the test observes. */
uint64_t sim_hash(const struct sim *s);
void sim_mix(struct sim *s, const void *p, size_t n);
uint64_t sim_events(const struct sim *s);
/* Prints every event, one a line, from now on. NULL stops. */
void sim_trace(struct sim *s, FILE *to);

/* Counts of what a run went through, by name: a test asserts floors on them, so that its silence counts. The world counts
 * its own under "net …", "disk …", "node …" (sim_counts lists them). `name` is copied. */
void sim_count(struct sim *s, const char *name);
uint64_t sim_counted(const struct sim *s, const char *name);
typedef void sim_count_fn(void *arg, const char *name, uint64_t count);
void sim_counts(const struct sim *s, sim_count_fn *each, void *arg); /* sorted by name */

/* Adds a world's counts to a sum over many seeds; a zeroed tally is empty. */
struct sim_tally {
	struct sim_tally_row {
		char *name; /* owned */
		uint64_t count;
	} * rows; /* owned, sorted by name */
	size_t count;
};
void sim_tally_add(struct sim_tally *t, const struct sim *s);
uint64_t sim_tally_of(const struct sim_tally *t, const char *name);
void sim_tally_print(const struct sim_tally *t, FILE *to);
void sim_tally_deinit(struct sim_tally *t);

/* ---- machines ---- */

enum sim_state {
	SIM_OFF,     /* no power: peers hear nothing */
	SIM_DOWN,    /* power, but no process: connections are refused */
	SIM_BOOTING, /* sim_program.start is running */
	SIM_UP,
};
enum sim_crash {
	SIM_KILL, /* the process dies (kill -9, or its own exit); the kernel, with its page cache and its sockets, lives */
	SIM_POWER, /* the machine dies: what was not synced is lost, in part or whole */
};

struct sim_program {
	/* main() before the loop runs, in a fiber: file calls block. OK: the loop runs from now on, *software goes to teardown.
	 * Otherwise it frees all that it made, and the machine is SIM_DOWN with this error. */
	enum err (*start)(void *arg, struct sim_node *n, struct io *io, void **software);
	/* The process is gone: frees memory. See the top of this file. */
	void (*teardown)(void *software);
};

/* A machine without a process. Its host is "10.0.0.<k>", k counted from 1; in its own connections "127.0.0.1" and "::1" are
 * itself too. Freed with the world. */
struct sim_node *sim_node_new(struct sim *s);
const char *sim_node_host(const struct sim_node *n);
unsigned sim_node_index(const struct sim_node *n);                 /* from 0 */
struct sim_node *sim_node_at(const struct sim *s, unsigned index); /* NULL behind the last */
struct sim *sim_node_sim(const struct sim_node *n);
enum sim_state sim_node_state(const struct sim_node *n);
/* How the last start ended; OK before the first and while it runs. */
enum err sim_node_start_result(const struct sim_node *n);

/* Starts a process on a machine that is off or down; `program` and `arg` are borrowed until it is dead. With a NULL program the
 * process is up at once and is the test itself, which uses sim_node_io from outside. */
void sim_node_boot(struct sim_node *n, const struct sim_program *program, void *arg);
struct io *sim_node_io(struct sim_node *n);  /* NULL unless booting or up */
void *sim_node_software(struct sim_node *n); /* NULL unless up */
/* Ends the process; harmless when there is none (SIM_POWER then still takes the page cache). May be called from inside the
 * software (its fail-stop): its io is dead at once, the rest happens when the current event ends. */
void sim_node_crash(struct sim_node *n, enum sim_crash how);
/* Nothing of this machine's process runs for `ns`, timers fire late (SIGSTOP, a host that swaps). */
void sim_node_pause(struct sim_node *n, uint64_t ns);
/* The wall clock jumps; the monotonic one does not. A machine starts with a random offset of at most a second. */
void sim_node_wall_jump(struct sim_node *n, int64_t by_ns);
/* The loop takes its events up to this late (0: at once). Default 20 us. */
void sim_node_turn_delay(struct sim_node *n, uint64_t max_ns);

/* ---- the network ----
 * In-order byte streams with delay; a connection never loses or reorders its bytes, it stalls or is reset (TCP). A process that
 * dies sends what the kernel took and then the end, or a reset; a machine that loses power says nothing until it is back. */

struct sim_net {
	uint64_t delay_min_ns, delay_max_ns; /* of a segment, each way. 50 us .. 500 us */
	uint64_t spike_max_ns;               /* now and then it takes longer, 0 .. this. 20 ms */
	uint32_t spike_ppm;                  /* 1000 */
	uint32_t reset_ppm;                  /* a segment is answered with a reset. 0 */
	uint32_t split_ppm;                  /* a read gets only a random part of what is there. 200,000 */
	size_t segment_bytes_max;            /* a write travels in random pieces up to this. 64 KiB */
	size_t window_bytes;         /* not yet read by the peer, each way, before a writer has to wait. 128 KiB */
	uint64_t bytes_per_s;        /* of a connection, each way; 0 = any. 0 */
	uint64_t connect_timeout_ns; /* no answer at all: ERR_TIMEOUT. 20 s */
	uint64_t stall_timeout_ns;   /* bytes sent but never taken: ERR_TIMEOUT. 900 s */
};
/* The world's settings; may be changed at any time, for what is sent from then on. */
struct sim_net *sim_net(struct sim *s);

enum sim_cut {
	SIM_CUT_NONE,
	SIM_CUT_STALL, /* segments of this direction wait until it is healed */
	SIM_CUT_RESET, /* every connection that sends into it is reset; connecting is refused */
};
/* Cuts or heals one direction between two machines. */
void sim_net_cut(struct sim *s, const struct sim_node *from, const struct sim_node *to, enum sim_cut cut);
/* Both directions between this machine and all others. */
void sim_net_isolate(struct sim *s, const struct sim_node *n, enum sim_cut cut);
void sim_net_heal(struct sim *s); /* all cuts */
/* Resets every open connection between the two. */
void sim_net_reset(struct sim *s, const struct sim_node *a, const struct sim_node *b);
/* The next `count` accepts of this machine fail with `e` first. */
void sim_net_fail_accept(struct sim_node *n, unsigned count, enum err e);

/* A scripted connection of a test, from a machine of its own that never fails. Bytes to send are copied and never block. */
struct sim_client;
struct sim_client *sim_client_new(struct sim *s, const char *host, uint16_t port);
/* Closes it; the world does so in the end. */
void sim_client_free(struct sim_client *c);
void sim_client_send(struct sim_client *c, struct slice bytes);
/* What has arrived and was not consumed; sim_client_consume drops the first n bytes. */
struct slice sim_client_received(const struct sim_client *c);
void sim_client_consume(struct sim_client *c, size_t n);
/* ERR_AGAIN while connecting, OK while open, else why it ended. */
enum err sim_client_status(const struct sim_client *c);
/* While stopped it reads nothing: a slow consumer. */
void sim_client_read(struct sim_client *c, bool on);

/* ---- the disk ----
 * Page cache and device are two things. A write goes to the cache. A sync moves the file's dirty pages to the device. A loss of
 * power keeps of every dirty page, file by file, unit by unit, some earlier state since the last sync: nothing, all, a prefix
 * of the writes, or any mixture; it may ruin whole 4096-byte units that were being rewritten. Creations, renames and unlinks
 * are made durable by io_dir_sync alone and survive independently of each other and of the data. After a failed sync the
 * dirty pages are clean, though only some are on the device: reads show them until io_file_drop_cache, as on Linux.
 * All paths below are as the software gives them; "." and "/" are the same directory. */

struct sim_disk {
	uint64_t delay_min_ns, delay_max_ns;           /* of a call that needs no device. 1 us .. 20 us */
	uint64_t sync_delay_min_ns, sync_delay_max_ns; /* of a sync. 50 us .. 2 ms */
	uint64_t stall_max_ns;                         /* now and then any call takes longer, 0 .. this. 200 ms */
	uint32_t stall_ppm;                            /* 200 */
	uint64_t capacity_bytes;                       /* 1 GiB; in pages of 4096 */
	uint32_t unit_bytes;                           /* what the device writes whole: 512, 1024, 2048, 4096. 512 */
	uint32_t ruin_ppm;  /* a dirty 4096-byte page comes out of a power loss as garbage. 20,000 */
	uint32_t flip_ppm;  /* a read finds that a bit of what it reads has rotted. 0 */
	uint32_t evict_ppm; /* a read finds its clean pages gone from the cache. 10,000 */
	uint32_t read_fail_ppm, write_fail_ppm, sync_fail_ppm; /* ERR_IO. 0 */
};
/* The machine's settings; may be changed at any time. */
struct sim_disk *sim_disk(struct sim_node *n);

enum sim_call {
	SIM_CALL_OPEN,
	SIM_CALL_WRITE,
	SIM_CALL_READ,
	SIM_CALL_SYNC,
	SIM_CALL_SIZE,
	SIM_CALL_TRUNCATE,
	SIM_CALL_ALLOCATE,
	SIM_CALL_DROP_CACHE,
	SIM_CALL_UNLINK,
	SIM_CALL_RENAME,
	SIM_CALL_DIR_MAKE,
	SIM_CALL_DIR_REMOVE,
	SIM_CALL_DIR_SYNC,
	SIM_CALL_DIR_LIST,
	SIM_CALL_SPACE,
	SIM_CALL_ANY,
};
/* After `skip` matching calls, the next `count` fail with `e`: those of this kind whose path contains `path_part` (NULL: any; a
 * rename's is "from", a file's the one it was opened with). A failing write has written a random part, a failing sync has
 * synced one, other calls have done nothing. Several rules may stand; sim_disk_fail_clear drops all. Rules outlive processes. */
void sim_disk_fail(
	struct sim_node *n, enum sim_call call, const char *path_part, unsigned skip, unsigned count, enum err e);
void sim_disk_fail_clear(struct sim_node *n);

/* Crashes the machine at the k-th file call from now (1 = the next), so that a test can stop between any two steps. */
enum sim_when {
	SIM_BEFORE,   /* the call does nothing */
	SIM_DURING,   /* a write writes, a sync syncs a random part; others happen or not */
	SIM_AFTER,    /* it has done everything, but never returns */
	SIM_SOMETIME, /* one of the three */
};
void sim_disk_crash_at(struct sim_node *n, uint64_t k, enum sim_when when, enum sim_crash how);
void sim_disk_crash_clear(struct sim_node *n);
uint64_t sim_disk_calls(const struct sim_node *n); /* file calls since the machine was made */

/* Damage, on the device and in clean cached pages; the machine may be in any state. ERR_NOT_FOUND, ERR_INVALID past the end. */
must_check enum err sim_disk_flip(struct sim_node *n, const char *path, uint64_t at, unsigned bit /* 0..7 */);
must_check enum err sim_disk_overwrite(struct sim_node *n, const char *path, uint64_t at, struct slice bytes);
must_check enum err sim_disk_truncate(struct sim_node *n, const char *path, uint64_t bytes); /* shorter only */
must_check enum err sim_disk_remove(struct sim_node *n, const char *path); /* a directory with all below it */
void sim_disk_wipe(struct sim_node *n);

/* A copy of everything on the device, and putting it back: a disk restored from an older backup. Only while off or down. */
struct sim_image;
struct sim_image *sim_disk_save(struct sim_node *n); /* owned by the caller */
void sim_disk_restore(struct sim_node *n, const struct sim_image *image);
void sim_image_free(struct sim_image *image);

/* Looking without a process. What `from_device` shows is what a power loss could not take. ERR_NOT_FOUND. */
must_check enum err sim_disk_size(struct sim_node *n, const char *path, uint64_t *bytes);
must_check enum err sim_disk_read(
	struct sim_node *n, const char *path, uint64_t at, void *p, size_t size, bool from_device, size_t *got);
/* Every regular file below `path`, sorted, with its whole path and size: to choose a victim. */
typedef void sim_disk_each_fn(void *arg, const char *path, uint64_t bytes);
void sim_disk_each(struct sim_node *n, const char *path, sim_disk_each_fn *each, void *arg);
uint64_t sim_disk_used_bytes(const struct sim_node *n);
uint64_t sim_disk_dirty_bytes(const struct sim_node *n); /* pages a power loss may take */

#endif
