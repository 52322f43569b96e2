// SPDX-License-Identifier: MIT
#include "helpers.h"

#include <sched.h>
#include <stdio.h>

#include <urcu-qsbr.h>

#include "clock.h"

/* A helper looks for more so long before it sleeps; the next batch of a busy worker is
 * there within it. */
#define LINGER_NS 20000
/* An owner looks so often before it lets others run: the helper may need this CPU. */
#define SPINS 2000

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* --- chunks --- */

void crew_do(struct aead *aead, enum crew_what what, struct aead_op *ops, unsigned n)
{
	if (what == CREW_SEAL)
		aead_seal(aead, ops, n);
	else
		aead_open(aead, ops, n);
}

static unsigned chunk_count(uint64_t chunks)
{
	return (unsigned)(chunks >> 32);
}

static unsigned chunk_next(uint64_t chunks)
{
	return (uint32_t)chunks;
}

static bool job_is_taken(const struct crew_job *job)
{
	uint64_t chunks = atomic_load_explicit(&job->chunks, memory_order_relaxed);

	return chunk_next(chunks) >= chunk_count(chunks);
}

typedef void (*finished_fn)(struct crew_job *job);

/* Takes a chunk and does it. Operations in it; 0 where none is left. *finished is set if
 * all others were done before. From then on the job may be another one. */
static unsigned do_chunk(struct crew_job *job, struct aead *aead, finished_fn *finished)
{
	uint64_t chunks =
		atomic_fetch_add_explicit(&job->chunks, 1, memory_order_acq_rel);
	unsigned first = chunk_next(chunks) * CREW_CHUNK, n;
	finished_fn fn;

	if (chunk_next(chunks) >= chunk_count(chunks))
		return 0;
	n = job->count - first < CREW_CHUNK ? job->count - first : CREW_CHUNK;
	fn = job->finished;
	crew_do(aead, job->what, job->ops + first, n);
	if (atomic_fetch_add_explicit(&job->done, 1, memory_order_acq_rel) + 1 ==
	    chunk_count(chunks))
		*finished = fn;
	return n;
}

/* --- the owner --- */

bool crew_helps(const struct crew *crew, struct crew_advice *advice)
{
	if (!crew->count)
		return false;
	if (!advice->skip)
		return true;
	advice->skip--;
	return false;
}

void crew_post(struct crew *crew, struct crew_job *job)
{
	uint64_t n = (job->count + CREW_CHUNK - 1) / CREW_CHUNK;
	bool wake = false;

	atomic_store_explicit(&job->done, 0, memory_order_relaxed);
	atomic_store_explicit(&job->chunks, n << 32, memory_order_release);
	pthread_mutex_lock(&crew->lock);
	if (crew->tail - crew->head < CREW_JOBS) {
		crew->queue[crew->tail++ % CREW_JOBS] = job;
		atomic_store_explicit(&crew->waiting, crew->tail - crew->head,
				      memory_order_relaxed);
		wake = crew->asleep > 0 && !atomic_load(&crew->lingering);
	}
	pthread_mutex_unlock(&crew->lock);
	if (wake)
		pthread_cond_signal(&crew->posted);
}

bool crew_done(const struct crew_job *job)
{
	uint64_t chunks = atomic_load_explicit(&job->chunks, memory_order_relaxed);

	return atomic_load_explicit(&job->done, memory_order_acquire) ==
	       chunk_count(chunks);
}

bool crew_wait(const struct crew_job *job)
{
	unsigned i;

	for (i = 0; !crew_done(job); i++) {
		if (i < SPINS)
			relax();
		else
			sched_yield();
	}
	return i <= SPINS;
}

unsigned crew_work(struct crew_job *job, struct aead *aead)
{
	unsigned own = 0, n;
	finished_fn finished;

	while ((n = do_chunk(job, aead, &finished)))
		own += n;
	return own;
}

void crew_learn(struct crew_advice *advice, uint64_t helped, bool in_time)
{
	advice->helped += helped;
	if (helped && in_time)
		advice->back_off = 0;
	else if (advice->back_off < CREW_BACK_OFF)
		advice->back_off = advice->back_off * 2 + 1;
	advice->skip = advice->back_off;
}

/* --- a helper --- */

/* Called with the lock held: the first job of which something is left. */
static struct crew_job *first_job(struct crew *crew)
{
	struct crew_job *job = NULL;

	while (crew->head != crew->tail) {
		job = crew->queue[crew->head % CREW_JOBS];
		if (!job_is_taken(job))
			break;
		job = NULL;
		crew->head++;
	}
	atomic_store_explicit(&crew->waiting, crew->tail - crew->head,
			      memory_order_relaxed);
	return job;
}

static void linger(struct crew *crew)
{
	uint64_t end = clock_now() + LINGER_NS;

	atomic_fetch_add(&crew->lingering, 1);
	while (!atomic_load_explicit(&crew->waiting, memory_order_relaxed) &&
	       clock_now() < end)
		relax();
	atomic_fetch_sub(&crew->lingering, 1);
}

/* Sleeps where there is none; NULL: the end. */
static struct crew_job *next_job(struct crew *crew)
{
	struct crew_job *job;

	urcu_qsbr_quiescent_state();
	pthread_mutex_lock(&crew->lock);
	job = first_job(crew);
	if (!job) {
		pthread_mutex_unlock(&crew->lock);
		linger(crew);
		pthread_mutex_lock(&crew->lock);
	}
	while (!job && !atomic_load(&crew->stop) && !(job = first_job(crew))) {
		crew->asleep++;
		urcu_qsbr_thread_offline();
		pthread_cond_wait(&crew->posted, &crew->lock);
		urcu_qsbr_thread_online();
		crew->asleep--;
	}
	pthread_mutex_unlock(&crew->lock);
	return job;
}

static void help_with(struct crew_job *job, struct aead *aead)
{
	finished_fn finished = NULL;

	while (!finished && do_chunk(job, aead, &finished))
		;
	if (finished)
		finished(job);
}

static void *help(void *arg)
{
	struct crew_helper *h = arg;
	struct crew_job *job;

	urcu_qsbr_register_thread();
	while ((job = next_job(h->crew)))
		help_with(job, &h->aead);
	urcu_qsbr_unregister_thread();
	return NULL;
}

/* --- all of them --- */

static int start_helper(struct crew *crew)
{
	struct crew_helper *h = &crew->helpers[crew->count];
	char name[16];
	int err = aead_begin(&h->aead, crew->engine);

	if (err)
		return err;
	h->crew = crew;
	err = -pthread_create(&h->thread, NULL, help, h);
	if (err) {
		aead_end(&h->aead);
		return err;
	}
	snprintf(name, sizeof(name), "helper/%u", crew->count++);
	pthread_setname_np(h->thread, name);
	return 0;
}

int crew_start(struct crew *crew, const struct aead_engine *engine, unsigned n)
{
	int err = 0;

	*crew = (struct crew){.engine = engine};
	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->posted, NULL);
	while (crew->count < n && crew->count < CREW_MAX && !err)
		err = start_helper(crew);
	return err;
}

void crew_stop(struct crew *crew)
{
	if (!crew->engine)
		return;
	pthread_mutex_lock(&crew->lock);
	atomic_store(&crew->stop, true);
	pthread_mutex_unlock(&crew->lock);
	pthread_cond_broadcast(&crew->posted);
	for (unsigned i = 0; i < crew->count; i++) {
		pthread_join(crew->helpers[i].thread, NULL);
		aead_end(&crew->helpers[i].aead);
	}
	pthread_cond_destroy(&crew->posted);
	pthread_mutex_destroy(&crew->lock);
	*crew = (struct crew){0};
}
