/* SPDX-License-Identifier: Apache-2.0 */
/* sim_impl — private to the simulated twin: its structs, and what its files ask of each other.
 *
 *   sim.c        the world: queue of events, chance, hash, counts      sim_net.c    streams, connecting, listening
 *   sim_fiber.c  stacks and switches                                    sim_pipe.c   what lies between them: segments, cuts
 *   sim_node.c   machines and processes: turns, lanes, crashes          sim_client.c scripted connections
 *   sim_disk.c   file calls: time, faults, effects                      sim_page.c   the bytes of one file: cache and device
 *                                                                       sim_tree.c   names: directories, cached and durable
 *
 * One rule keeps runs equal: nothing may depend on an address, and every draw of chance happens in the order of events. */
#ifndef THEBES_TESTS_SIM_SIM_IMPL_H
#define THEBES_TESTS_SIM_SIM_IMPL_H

#include <setjmp.h>
#include <ucontext.h>

#include "sim/sim.h"
#include "thebes/io_impl.h"

enum {
	SIM_NODES_MAX = 64,
	SIM_PAGE_BYTES = 4096,
	SIM_SCRATCH_BYTES = 64 * 1024,
	SIM_FIBER_STACK_BYTES = 256 * 1024,
};

/* ---- events ---- */

struct sim_event {
	struct heap_node link_by_time;
	void (*fire)(struct sim_event *e); /* unarmed when called */
};
static inline bool sim_event_is_armed(const struct sim_event *e) { return heap_is_linked(&e->link_by_time); }

/* A callback that waits for its process's next turn. */
struct sim_ready {
	struct list link; /* on sim_io.ready */
	void (*run)(struct sim_ready *r);
};

/* Where a stack of machine code was left, and what the sanitizers want to know about it. */
struct sim_context {
	ucontext_t made;  /* how it begins, and with a sanitizer where it was left */
	jmp_buf left;     /* without one: no system call for the signal mask, 2.5 times the events per second */
	void *fake_stack; /* AddressSanitizer's, while it is left */
	void *tsan;       /* ThreadSanitizer's */
	const void *bottom;
	size_t bytes;
};

/* A stack that runs one fiber after the other. */
struct sim_stack {
	struct list link; /* on sim.stacks_free */
	struct sim *s;
	struct sim_context context;
	struct sim_fiber *fiber; /* borrowed; NULL while free */
	uint8_t *memory;         /* owned, mmapped; a guard page at its low end */
	bool is_begun;
};

struct sim {
	uint64_t seed, now_ns, events, hash;
	uint64_t limit_ns; /* the run in progress does not go beyond */
	struct heap queue; /* of sim_event.link_by_time */
	struct prng chance, chance_of_test;
	struct map counts; /* of struct sim_counter */
	FILE *trace;       /* borrowed */

	struct sim_node *nodes[SIM_NODES_MAX]; /* owned */
	unsigned node_count;
	struct sim_node *clients;      /* owned: the machine of all struct sim_client, made with the first */
	struct sim_node *node_current; /* whose code is running; NULL: the test's or our own */
	struct list client_list;       /* of sim_client.link */
	struct list crashed;           /* of sim_node.link_by_crash: to be finished when the event ends */
	struct list acts;              /* of struct sim_act.link */

	struct sim_fiber *fiber_current; /* NULL: the scheduler's stack */
	struct list stacks_free;         /* of struct sim_stack.link */
	struct sim_context scheduler;

	struct sim_net net;
	struct list conns; /* of struct sim_conn.link */
	/* [from][to]; the last row and column are the clients' machine */
	uint8_t cuts[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1]; /* enum sim_cut */
	uint8_t scratch[SIM_SCRATCH_BYTES];
};

void sim_event_at(struct sim *s, struct sim_event *e, uint64_t at_ns);
void sim_event_cancel(struct sim *s, struct sim_event *e);
uint64_t sim_draw(struct sim *s, uint64_t bound); /* the world's chance: below bound */
bool sim_happens(struct sim *s, uint64_t ppm);
uint64_t sim_between(struct sim *s, uint64_t min, uint64_t max); /* both inclusive */
void sim_mix_u64(struct sim *s, uint64_t v);
void sim_say(struct sim *s, const struct sim_node *n, const char *fmt, ...) printf_like(3, 4);

/* ---- fibers ---- */

/* What runs sim_program.start or io_job.run. Lives until its process has heard of its end. */
struct sim_fiber {
	struct list link; /* on sim_io.fibers until its function has returned */
	struct sim *s;
	struct sim_io *process;
	void (*run)(struct sim_fiber *f);
	struct sim_event wake;
	struct sim_stack *stack; /* owned while started and not finished */
	bool is_started, is_finished;
	/* a job's */
	struct io_job *job; /* NULL: the boot */
	struct sim_ready done;
	enum io_lane lane;
};
/* Runs the fiber until it waits or ends. Scheduler's stack only. */
void sim_fiber_enter(struct sim_fiber *f);
/* Back to the scheduler; returns when somebody enters the fiber again. Fiber's stack only. */
void sim_fiber_leave(struct sim_fiber *f);
void sim_stacks_free(struct sim *s);

/* ---- machines and processes ---- */

struct sim_lane {
	struct list queue; /* of io_job.link */
	unsigned busy_count;
};

/* A process: what dies in a crash. */
struct sim_io {
	struct io io;
	struct sim_node *node;
	const struct sim_program *program; /* borrowed; NULL: the test itself */
	void *program_arg, *software;      /* borrowed */
	bool is_up;                        /* the loop runs */
	struct list ready;                 /* of sim_ready.link */
	struct sim_event turn;
	struct sim_fiber *boot; /* owned */
	struct list fibers;     /* of sim_fiber.link: not finished */
	struct list finished;   /* of sim_fiber.link: `done` not delivered */
	struct sim_lane lanes[IO_LANE_COUNT];
	struct list streams, listeners, files; /* of their link */
	uint64_t calls_dead;                   /* file calls since it died */
};

struct sim_rule {
	struct list link;
	enum sim_call call;
	char *path_part; /* owned; NULL: any */
	unsigned skip, count;
	enum err e;
};

struct sim_node {
	struct sim *s;
	unsigned index; /* SIM_NODES_MAX for the clients' machine */
	char host[16];
	enum sim_state state;
	struct sim_io *process; /* owned */
	enum err start_result;
	struct list link_by_crash;
	enum sim_crash crash_how; /* while linked */
	uint64_t clock_offset_ns;
	int64_t wall_offset_ns;
	uint64_t paused_until_ns, turn_delay_max_ns;
	uint16_t port_next;
	unsigned accept_fail_count;
	enum err accept_fail;

	struct sim_disk disk;
	struct sim_inode *root; /* owned */
	struct list dir_ops;    /* of sim_dir_op.link: changes of directories that are not durable */
	struct list rules;      /* of sim_rule.link */
	uint64_t inode_next, pages_used, calls;
	uint64_t crash_at_call; /* 0: never */
	enum sim_when crash_when;
	enum sim_crash crash_as;
};

static inline struct sim_io *sim_io_of(struct io *io) { return CONTAINER_OF(io, struct sim_io, io); }
/* A turn of its loop is due. */
void sim_process_wake(struct sim_io *p);
void sim_process_ready(struct sim_io *p, struct sim_ready *r); /* harmless when it is ready already */
/* Lets time pass for the running fiber; a process that is the test itself waits for nothing. */
void sim_process_wait(struct sim_io *p, uint64_t ns);
void sim_job_submit(struct io *io, enum io_lane lane, struct io_job *j);
/* Ends what sim_node_crash could not end while the software was running. */
void sim_crashes_finish(struct sim *s);
struct sim_node *sim_node_make(struct sim *s, unsigned index);
void sim_node_free(struct sim_node *n);
/* The machine of the scripted clients, up. */
struct sim_node *sim_clients_node(struct sim *s);

void sim_clients_deinit(struct sim *s);

/* ---- network ---- */

enum err sim_net_connect(struct io *io, const char *host, uint16_t port, const struct io_stream_ops *ops, void *owner,
	struct io_stream **out);
void sim_net_stream_read(struct io_stream *s, bool on);
enum io_write sim_net_stream_write(struct io_stream *s, const struct slice *v, unsigned count);
size_t sim_net_stream_pending(const struct io_stream *s);
void sim_net_stream_close(struct io_stream *s);
void sim_net_stream_addr(const struct io_stream *s, bool is_peer, struct io_addr *out);
enum err sim_net_listen(struct io *io, const char *host, uint16_t port, int backlog, const struct io_listener_ops *ops,
	void *owner, struct io_listener **out);
void sim_net_listener_addr(const struct io_listener *l, struct io_addr *out);
void sim_net_listener_close(struct io_listener *l);
void sim_net_init(struct sim *s);
/* The process is dead: its sockets end, unless the power is gone too. Its stream objects stay until sim_net_process_free. */
void sim_net_process_died(struct sim_io *p, enum sim_crash how);
void sim_net_process_free(struct sim_io *p);
/* The power is gone: the machine's sockets vanish without a word. */
void sim_net_power_off(struct sim_node *n);
/* The machine has power again: who still talks to its former life hears a reset. */
void sim_net_node_on(struct sim_node *n);
void sim_net_deinit(struct sim *s);

/* ---- the bytes of a file, and names ---- */

struct sim_page {
	uint8_t *cache, *device; /* owned; NULL is zeroes; the same pointer when clean and equal */
	bool is_allocated, is_dirty;
};

enum sim_change_kind {
	SIM_CHANGE_BYTES, /* bytes, or zeroes, at [at, at + n) */
	SIM_CHANGE_CUT,   /* shorter: [at, at + n) is gone */
	SIM_CHANGE_GROW,  /* longer, by a hole */
};
/* A change of a file since its last sync, in order. */
struct sim_change {
	struct list link;
	enum sim_change_kind kind;
	uint64_t at, n, size_after;
	uint8_t *bytes; /* owned; NULL: zeroes */
};

struct sim_entry {
	char *name;              /* owned */
	struct sim_inode *inode; /* ref */
};
struct sim_dir {
	struct sim_entry *rows; /* owned, sorted by name */
	size_t count, room;
};

struct sim_inode {
	struct sim_node *node;
	uint64_t id;
	unsigned refs;  /* entries of both kinds, changes of directories, open files */
	unsigned links; /* cached entries */
	unsigned opens; /* open files */
	bool is_dir, is_locked;
	/* a file */
	struct sim_page *pages; /* owned */
	size_t page_room;
	uint64_t size, device_size, pages_allocated;
	struct list changes; /* of sim_change.link */
	/* a directory */
	struct sim_dir cached, durable;
};

enum sim_effect { SIM_EFFECT_NONE, SIM_EFFECT_PART, SIM_EFFECT_FULL };

struct sim_inode *sim_inode_new(struct sim_node *n, bool is_dir); /* refs 1 */
void sim_inode_ref(struct sim_inode *i);
void sim_inode_unref(struct sim_inode *i);
void sim_inode_unlinked(struct sim_inode *i); /* after links or opens fell: its space may be free */
/* Drops all content; sim_inode_unref calls it. */
void sim_file_deinit(struct sim_inode *i);
/* Writes to the cache as far as the disk has room; bytes NULL: zeroes. Returns what was written. */
uint64_t sim_file_write(struct sim_inode *i, uint64_t at, const uint8_t *bytes, uint64_t n);
uint64_t sim_file_read(const struct sim_inode *i, uint64_t at, uint8_t *p, uint64_t n, bool from_device);
void sim_file_resize(struct sim_inode *i, uint64_t bytes);
/* FULL: all is durable. PART: a failed sync, after which a random part is durable and everything is clean. */
void sim_file_sync(struct sim_inode *i, enum sim_effect effect);
/* Clean pages of [at, at + n) are read from the device from now on. */
void sim_file_evict(struct sim_inode *i, uint64_t at, uint64_t n);
void sim_file_power_loss(struct sim_inode *i);
/* Changes what is on the device, and clean cached pages: xor when `flip`. Inside the durable size. */
void sim_file_damage(struct sim_inode *i, uint64_t at, const uint8_t *bytes, uint64_t n, bool flip);
void sim_file_damage_cut(struct sim_inode *i, uint64_t bytes);
/* A copy of what is on the device, clean. */
struct sim_inode *sim_file_copy(struct sim_node *n, const struct sim_inode *from);
uint64_t sim_file_dirty_bytes(const struct sim_inode *i);

/* Where a path leads. */
struct sim_place {
	struct sim_inode *dir;   /* borrowed: the directory that holds the last name; NULL for the root itself */
	struct sim_inode *inode; /* borrowed: what is there, or NULL */
	char name[256];          /* the last name */
};
/* ERR_NOT_FOUND when a directory on the way is missing, ERR_INVALID. A missing last name is OK, with inode NULL. */
must_check enum err sim_tree_find(struct sim_node *n, const char *path, struct sim_place *out);
/* As sim_tree_find, but something must be there. */
must_check enum err sim_tree_get(struct sim_node *n, const char *path, struct sim_inode **out);
void sim_tree_add(struct sim_inode *dir, const char *name, struct sim_inode *inode);
void sim_tree_remove(struct sim_inode *dir, const char *name);
void sim_tree_rename(struct sim_inode *from_dir, const char *from, struct sim_inode *to_dir, const char *to);
void sim_tree_sync(struct sim_inode *dir);
/* Names and bytes of the whole machine after a loss of power. */
void sim_tree_power_loss(struct sim_node *n);
/* Removes a name and all below it from cache and device. */
void sim_tree_destroy(struct sim_inode *dir, const char *name);
void sim_tree_reset(struct sim_node *n, struct sim_inode *root /* taken; NULL: empty */);
struct sim_inode *sim_tree_copy(struct sim_node *n, const struct sim_inode *dir); /* of what is durable */
void sim_tree_deinit(struct sim_node *n);
/* Every file below dir in the order of names. */
typedef void sim_tree_each_fn(void *arg, const char *path, struct sim_inode *file);
void sim_tree_each(struct sim_inode *dir, const char *prefix, sim_tree_each_fn *each, void *arg);

/* ---- file calls ---- */

enum err sim_call_open(struct io *io, const char *path, unsigned flags, struct io_file **out);
void sim_call_close(struct io_file *f);
enum err sim_call_write(struct io_file *f, uint64_t at, const struct slice *v, unsigned count);
enum err sim_call_read(struct io_file *f, uint64_t at, void *p, size_t n, size_t *got);
enum err sim_call_sync(struct io_file *f);
enum err sim_call_size(struct io_file *f, uint64_t *bytes);
enum err sim_call_truncate(struct io_file *f, uint64_t bytes);
enum err sim_call_allocate(struct io_file *f, uint64_t at, uint64_t n);
enum err sim_call_drop_cache(struct io_file *f);
enum err sim_call_unlink(struct io *io, const char *path);
enum err sim_call_rename(struct io *io, const char *from, const char *to);
enum err sim_call_dir_make(struct io *io, const char *path);
enum err sim_call_dir_remove(struct io *io, const char *path);
enum err sim_call_dir_sync(struct io *io, const char *path);
enum err sim_call_tree_sync(struct io *io, const char *path);
enum err sim_call_dir_list(struct io *io, const char *path, io_dir_each_fn *each, void *arg);
enum err sim_call_space(struct io *io, const char *path, uint64_t *free_bytes, uint64_t *total_bytes);
void sim_disk_init(struct sim_node *n);
void sim_disk_deinit(struct sim_node *n);
/* Closes what the dead process left open. */
void sim_disk_process_free(struct sim_io *p);

#endif
